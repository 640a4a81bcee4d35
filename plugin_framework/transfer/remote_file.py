"""An object in storage as a file that is read here and there, without fetching it whole."""

from __future__ import annotations

import threading
from collections.abc import Callable

from plugin_framework.transfer.engine import Engine
from plugin_framework.transfer.parallel import Width
from plugin_framework.transfer.storage_object import StorageObject


class RemoteFile:
    """Random access to an object. Safe to use from several threads.

    Raises TransferError from all it does: when storage refuses or cannot be reached, serves no
    ranges, or the object is no longer the one that was first read.
    """

    def __init__(
        self, engine: Engine, presign: Callable[[], str], *, stop: threading.Event | None = None
    ) -> None:
        """Reads end with an error within a second once ``stop`` is set, if given."""
        self._stop = stop or threading.Event()
        width = Width(engine.options.concurrency)
        self._source = StorageObject(engine, presign, width=width)
        self._first = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes; asked of storage once."""
        with self._first:
            if self._source.facts is None:
                self._source.fetch(0, 1, lambda _data: None, stop=self._stop)
        assert self._source.facts is not None
        return self._source.facts.size

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset``, fewer at the end of the file."""
        size = min(size, self.size - offset)
        received = bytearray()
        if size > 0:
            self._source.fetch(offset, size, received.extend, stop=self._stop)
        return bytes(received)
