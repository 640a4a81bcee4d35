"""An object in storage as a file that is read here and there, without fetching it whole."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable

from plugin_framework.errors import Code, TransferError
from plugin_framework.transfer.engine import Engine
from plugin_framework.transfer.parallel import Tally, Width, run_all
from plugin_framework.transfer.plan import MIB, Part, ranges
from plugin_framework.transfer.storage_object import RangeIgnoredError, StorageObject


class RemoteFile:
    """Random access to an object. Safe to use from several threads.

    A large read is made of several ranges, as many at once as ``engine`` allows for one file.
    ``fetched`` counts the bytes that reads have brought so far.

    Raises from all it does:
        ObjectChangedError: the object is no longer the one that was first read.
        TransferError: storage refuses, cannot be reached, or serves no ranges.
    """

    def __init__(
        self,
        engine: Engine,
        presign: Callable[[], str],
        *,
        check: Callable[[], None] = lambda: None,
        tally: Tally | None = None,
    ) -> None:
        """``check`` is called often, by the reading thread; what it raises ends the read."""
        self.fetched: int = 0
        self._check = check
        self._width = Width(engine.options.concurrency)
        self._source = StorageObject(engine, presign, width=self._width, tally=tally)
        self._first = threading.Lock()
        self._counting = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes; asked of storage once."""
        with self._first:
            if self._source.facts is None:
                self._fetch(0, 1, MIB)
        assert self._source.facts is not None
        return self._source.facts.size

    def read(self, offset: int, size: int) -> memoryview:
        """``size`` bytes from ``offset``, fewer at the end of the file."""
        size = min(size, self.size - offset)
        if size <= 0:
            return memoryview(b"")
        data = self._fetch(offset, size, self._range_size(size))
        with self._counting:
            self.fetched += size
        return data

    def _range_size(self, size: int) -> int:
        """Bytes per range, in whole MiB: enough ranges for all that may be under way at once."""
        return max(1, -(-size // (self._width.most * MIB))) * MIB

    def _fetch(self, start: int, size: int, each: int) -> memoryview:
        # In memory of its own: malloc would keep what is let go of, for each thread.
        whole = memoryview(mmap.mmap(-1, size))

        def fetch(piece: Part, stop: threading.Event) -> None:
            at = piece.offset - start

            def write(data: memoryview) -> None:
                nonlocal at
                whole[at : at + len(data)] = data
                at += len(data)

            self._source.fetch(piece.offset, piece.size, write, stop=stop)

        try:
            pieces = ranges(start, start + size, each)
            run_all(pieces, fetch, width=self._width, tick=self._check)
        except RangeIgnoredError:
            raise TransferError(
                "storage gives the object only whole, and no parts of it: download it instead",
                code=Code.NO_RANGES,
            ) from None
        return whole
