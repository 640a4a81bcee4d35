"""Digests of a file's bytes: beside a transfer, before it, and of one part."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import xxhash

from plugin_framework.errors import LocalFileError, SourceChangedError
from plugin_framework.transfer.exchange import POLL_SECONDS
from plugin_framework.transfer.plan import MIB, Part

READ_AHEAD = 256 * MIB
"""Bytes that a digest may be ahead of the transfer: the disk is read once, and no faster than the
network takes it."""

AT_ONCE = MIB
"""Bytes of a file that is not worth a thread."""


def fingerprint(fd: int, part: Part) -> str:
    """A fast digest of a part's bytes, to tell whether they have changed; no cryptographic one."""
    digest = xxhash.xxh3_128()
    for offset in range(part.offset, part.end, MIB):
        digest.update(os.pread(fd, min(MIB, part.end - offset), offset))
    return digest.hexdigest()


def md5_of(path: Path, check: Callable[[], None]) -> str:
    """The MD5 in hex of a file; ``check`` is called often, and whatever it raises ends this.

    Raises:
        LocalFileError: the file cannot be read.
    """
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with path.open("rb", buffering=0) as file:
            while data := file.read(MIB):
                check()
                digest.update(data)
    except OSError as error:
        raise LocalFileError(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()


@contextmanager
def hashing(
    fd: int,
    size: int,
    *,
    limit: Callable[[], int],
    moved: Callable[[int], object] = lambda _end: None,
) -> Iterator[Callable[[], Future[str]]]:
    """The file's SHA-256 in hex, computed meanwhile and in file order, in a thread of its own.

    It takes longer than TLS does, so it is not for the threads that send. ``limit`` says how far
    the file may be read for now, and ``moved`` is told how far it was, at the end its size. What is
    yielded gives the digest's future.

    The future raises:
        LocalFileError: the file cannot be read.
        SourceChangedError: it has become shorter.
    """
    future: Future[str] = Future()
    stop = threading.Event()

    def run() -> None:
        try:
            future.set_result(_sha256(fd, size, limit, moved, stop))
        except BaseException as error:  # noqa: BLE001 - raised where the digest is waited for
            future.set_exception(error)
        finally:
            moved(size)

    def once() -> Future[str]:
        if not future.done():
            run()
        return future

    if size <= AT_ONCE:
        moved(size)  # it takes no time
        yield once
        return
    thread = threading.Thread(target=run, daemon=True, name="digest")
    thread.start()
    try:
        yield lambda: future
    finally:
        stop.set()
        thread.join()


def _sha256(
    fd: int,
    size: int,
    limit: Callable[[], int],
    moved: Callable[[int], object],
    stop: threading.Event,
) -> str:
    digest = hashlib.sha256()
    room = memoryview(bytearray(min(size, MIB)))
    for offset in range(0, size, MIB):
        end = min(offset + MIB, size)
        while limit() < end and not stop.wait(POLL_SECONDS):
            pass
        data = room[: end - offset]
        try:
            read = os.preadv(fd, [data], offset)
        except OSError as error:
            raise LocalFileError(f"cannot read the file: {error.strerror}") from error
        if stop.is_set() or read < end - offset:
            raise SourceChangedError("the file became shorter while it was sent")
        digest.update(data)
        moved(end)
    return digest.hexdigest()
