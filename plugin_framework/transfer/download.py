"""Fetch an object into a file: ranges in parallel, and never a wrong byte in its place."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from plugin_framework.errors import LocalFileError, ObjectChangedError, TaskInterrupted
from plugin_framework.transfer.engine import AbortedError, Engine
from plugin_framework.transfer.parallel import Tally, Width, run_all
from plugin_framework.transfer.partial import Partial
from plugin_framework.transfer.plan import CHUNK, MIB, Part, ranges
from plugin_framework.transfer.storage_object import (
    Facts,
    RangeIgnoredError,
    StorageObject,
)

STARTS = 4
"""How often a download is begun when the object keeps changing."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """``size`` in bytes; ``etag`` verbatim, where storage gave one."""

    path: Path
    size: int
    etag: str | None


def download_file(
    engine: Engine,
    presign: Callable[[], str],
    target: Path,
    *,
    chunk: int = CHUNK,
    progress: Callable[[int, int], None] = lambda _received, _total: None,
    check: Callable[[], None] = lambda: None,
    tally: Tally | None = None,
) -> Downloaded:
    """Fetch the object behind ``presign()`` into ``target``.

    It is written beside ``target``, which it replaces once it is whole and on disk; until then, and
    on any failure, ``target`` stays as it was. After a crash, or where the task was stopped, the
    next call fetches what is missing, and nothing where ``target`` is whole, untouched, and still
    what is in storage.

    Args:
        engine: what reaches storage.
        presign: gives a URL, and a fresh one when storage says that the last has expired. Called
            from worker threads, one at a time.
        target: a file's path, in a folder that exists.
        chunk: bytes per range, which ``tally`` counts.
        progress: told bytes received and bytes in all, in the calling thread.
        check: called often in the calling thread. No range starts while it blocks; whatever it
            raises ends the download.

    Raises:
        LocalFileError: the file cannot be written.
        TransferError: the object cannot be had.
    """
    if target.is_dir():
        raise LocalFileError(f"cannot write {target}: it is a folder")
    with _writing(target):
        partial = Partial(target, chunk)
    try:
        download = _Download(
            engine=engine,
            presign=presign,
            partial=partial,
            target=target,
            chunk=chunk,
            progress=progress,
            check=check,
            tally=tally,
        )
        there = partial.whole()
        if there is not None and download.is_still(there):
            partial.discard()
            return Downloaded(target, there.size, there.etag)
        facts = download.run()
        with _writing(target):
            partial.settle(facts)
    except (AbortedError, TaskInterrupted):
        partial.leave()
        raise
    except BaseException:
        partial.discard()
        raise
    return Downloaded(target, facts.size, facts.etag)


@dataclass(kw_only=True)
class _Download:
    """One download under way."""

    engine: Engine
    presign: Callable[[], str]
    partial: Partial
    target: Path
    chunk: int
    progress: Callable[[int, int], None]
    check: Callable[[], None]
    tally: Tally | None

    def __post_init__(self) -> None:
        self._width = Width(self.engine.options.concurrency)
        self._received: dict[int, int] = {}
        self._source = self._open()
        # Short, for it is fetched alone: no other can be asked for before the size is known.
        self._lead = min(self.chunk, MIB)

    def run(self) -> Facts:
        """Fetch it, and again from the start when it changes meanwhile."""
        for _ in range(STARTS - 1):
            try:
                return self._by_ranges()
            except ObjectChangedError:
                self._start_over()
            except RangeIgnoredError:
                self._start_over()
                return self._whole()
        return self._by_ranges()

    def is_still(self, facts: Facts) -> bool:
        """Whether the object in storage is the one of ``facts``: asks for one byte of it."""
        source = self._open()
        source.agree(facts)

        def look(_part: Part, stop: threading.Event) -> None:
            source.fetch(0, 1, lambda _data: None, stop=stop)

        try:
            run_all([Part(1, 0, 1)], look, width=self._width, tick=self.check)
        except (ObjectChangedError, RangeIgnoredError):
            return False
        self.progress(facts.size, facts.size)
        return True

    def _open(self) -> StorageObject:
        return StorageObject(self.engine, self.presign, width=self._width, tally=self.tally)

    def _start_over(self) -> None:
        self._received.clear()
        self._source = self._open()
        with _writing(self.target):
            self.partial.forget()

    def _by_ranges(self) -> Facts:
        facts, here = self.partial.resume() or self._begin()
        self._source.agree(facts)
        lead = ranges(0, min(self._lead, facts.size), self._lead)
        pieces = [*lead, *ranges(self._lead, facts.size, self.chunk, first=2)]
        self._received = {piece.index: piece.size for piece in pieces if piece.offset in here}
        missing = [piece for piece in pieces if piece.offset not in here]
        run_all(missing, self._range, width=self._width, tick=self._tick)
        return facts

    def _begin(self) -> tuple[Facts, AbstractSet[int]]:
        """Fetch the first range, which tells the size: the URL is good for GET, not for HEAD."""
        run_all([Part(1, 0, self._lead)], self._range, width=self._width, tick=self._tick)
        facts = self._source.facts
        assert facts is not None
        with _writing(self.target):
            _check_room(self.partial.path, facts.size)
            os.truncate(self.partial.path, facts.size)
            self.partial.begin(facts)
            self.partial.finished(0)
        return facts, {0}

    def _whole(self) -> Facts:
        found: list[Facts] = []

        def fetch(_part: Part, stop: threading.Event) -> None:
            with _writing(self.target), self.partial.path.open("r+b") as file:
                found.append(self._source.fetch_whole(file, stop=stop, moved=self._counter(1)))

        run_all([Part(1, 0, 0)], fetch, width=self._width, tick=self._tick)
        return found[0]

    def _range(self, part: Part, stop: threading.Event) -> None:
        moved = self._counter(part.index)
        with _writing(self.target):
            with self.partial.path.open("r+b") as file:
                if self._source.facts is not None:
                    _allocate(file.fileno(), part)
                file.seek(part.offset)
                self._source.fetch(part.offset, part.size, file.write, stop=stop, moved=moved)
            self.partial.finished(part.offset)

    def _counter(self, index: int) -> Callable[[int], None]:
        return lambda count: self._received.__setitem__(index, count)

    def _tick(self) -> None:
        if self._source.size is not None:
            self.progress(sum(self._received.copy().values()), self._source.size)
        self.check()


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except BlockingIOError:
        raise LocalFileError(f"cannot write {target}: another download is writing it") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise LocalFileError(f"cannot write {target}: {reason}") from error


def _check_room(path: Path, size: int) -> None:
    """A full disk shows before the bytes are fetched."""
    disk = os.statvfs(path)
    missing = size - path.stat().st_blocks * 512
    if disk.f_blocks and disk.f_bavail * disk.f_frsize < missing:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _allocate(fd: int, part: Part) -> None:
    """Give a range its blocks, where that is cheap and keeps a file in one piece: on a disk.

    A file system without a device of its own, such as tmpfs, would write zeros first.
    """
    if not os.major(os.fstat(fd).st_dev):
        return
    try:
        os.posix_fallocate(fd, part.offset, part.size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
