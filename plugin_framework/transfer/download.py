"""Fetch an object into a file: ranges in parallel, and never a wrong byte in its place."""

from __future__ import annotations

import errno
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from plugin_framework.errors import LocalFileError
from plugin_framework.transfer.engine import Engine
from plugin_framework.transfer.parallel import Width, run_all
from plugin_framework.transfer.plan import CHUNK, Part, ranges
from plugin_framework.transfer.storage_object import (
    Facts,
    ObjectChangedError,
    RangeIgnoredError,
    StorageObject,
)

STARTS = 4
"""How often a download is begun when the object keeps changing."""

WRITE_BUFFER = 256 * 1024
"""Bytes gathered per range before they are written: TLS brings at most 16 KiB at once."""


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
) -> Downloaded:
    """Fetch the object behind ``presign()`` into ``target``.

    It is written beside ``target``, which it replaces once it is whole and on disk; until then, and
    on any failure, ``target`` stays as it was.

    Args:
        engine: what reaches storage.
        presign: gives a URL, and a fresh one when storage says that the last has expired. Called
            from worker threads, one at a time.
        target: a file's path, in a folder that exists.
        chunk: bytes per range.
        progress: told bytes received and bytes in all (0: not known yet), in the calling thread.
        check: called often in the calling thread. No range starts while it blocks; whatever it
            raises ends the download.

    Raises:
        LocalFileError: the file cannot be written.
        TransferError: the object cannot be had.
    """
    if target.is_dir():
        raise LocalFileError(f"cannot write {target}: it is a folder")
    temporary = target.with_name(f".download-{secrets.token_hex(8)}.part")
    try:
        with _writing(target):
            temporary.touch(exist_ok=False)
        facts = _Download(
            engine=engine,
            presign=presign,
            path=temporary,
            target=target,
            chunk=chunk,
            progress=progress,
            check=check,
        ).run()
        with _writing(target):
            _settle(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return Downloaded(target, facts.size, facts.etag)


@dataclass(kw_only=True)
class _Download:
    """One download under way, into the file at ``path``; ``target`` is what to call it."""

    engine: Engine
    presign: Callable[[], str]
    path: Path
    target: Path
    chunk: int
    progress: Callable[[int, int], None]
    check: Callable[[], None]

    def __post_init__(self) -> None:
        self._width = Width(self.engine.options.concurrency)
        self._received: dict[int, int] = {}
        self._source = self._open()

    def run(self) -> Facts:
        """Fetch it, and again from the start when it changes meanwhile."""
        for _ in range(STARTS - 1):
            try:
                return self._by_ranges()
            except ObjectChangedError:
                self._source = self._open()
            except RangeIgnoredError:
                return self._whole()
        return self._by_ranges()

    def _open(self) -> StorageObject:
        self._received.clear()
        return StorageObject(self.engine, self.presign, width=self._width)

    def _by_ranges(self) -> Facts:
        # The first range tells the size: the URL is good for GET alone, so HEAD is refused.
        self._run([Part(1, 0, self.chunk)], self._range)
        facts = self._source.facts
        assert facts is not None
        with _writing(self.target):
            _allocate(self.path, facts.size)
        rest = ranges(self.chunk, facts.size, self.chunk)
        self._run([Part(part.index + 1, part.offset, part.size) for part in rest], self._range)
        return facts

    def _whole(self) -> Facts:
        self._source = self._open()
        found: list[Facts] = []

        def fetch(_part: Part, stop: threading.Event) -> None:
            with _writing(self.target), self.path.open("r+b", WRITE_BUFFER) as file:
                moved = self._counter(1)
                found.append(self._source.fetch_whole(file, stop=stop, moved=moved))

        self._run([Part(1, 0, 0)], fetch)
        return found[0]

    def _run(self, pieces: list[Part], work: Callable[[Part, threading.Event], None]) -> None:
        run_all(pieces, work, width=self._width, tick=self._tick)

    def _range(self, part: Part, stop: threading.Event) -> None:
        with _writing(self.target), self.path.open("r+b", WRITE_BUFFER) as file:
            file.seek(part.offset)
            moved = self._counter(part.index)
            self._source.fetch(part.offset, part.size, file.write, stop=stop, moved=moved)

    def _counter(self, index: int) -> Callable[[int], None]:
        return lambda count: self._received.__setitem__(index, count)

    def _tick(self) -> None:
        facts = self._source.facts
        self.progress(sum(self._received.copy().values()), facts.size if facts else 0)
        self.check()


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise LocalFileError(f"cannot write {target}: {reason}") from error


def _allocate(path: Path, size: int) -> None:
    """Give the file all its blocks now: a full disk shows before the bytes are fetched."""
    with path.open("r+b") as file:
        file.truncate(size)
        if size == 0:
            return
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise


def _settle(temporary: Path, target: Path) -> None:
    """Put the file in its place, and see that file and name are on disk."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
