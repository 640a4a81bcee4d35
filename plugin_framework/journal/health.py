"""A damaged journal is put aside, and only while nobody else has it open.

Whoever has the journal open holds a shared lock on the file beside it. To move a journal away while
another process has it open would have that process remove the new journal's log when it closes.
"""

from __future__ import annotations

import fcntl
import logging
import os
import random
import sqlite3
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from plugin_framework.journal.ownership import LARGEST_EMPTY, has_log

log: logging.Logger = logging.getLogger("datahub.journal")

LOCK_SECONDS = 5.0
"""How long to wait for another process that opens, checks or holds a journal found damaged."""
_PRIMARY = 0xFF  # the rest of SQLite's error codes says how it was found
_WAL_SUFFIXES = ("-wal", "-shm")
_BESIDE = ("work", "locks")
"""Folders beside a journal that hold something of each subtask in it."""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file is damaged, and not merely that it cannot be used."""
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_IOERR_SHORT_READ:
        return True  # its log was cut
    return _code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def is_locked(error: sqlite3.Error) -> bool:
    """Whether SQLite says that others had the file for longer than it waits."""
    return _code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def is_full(error: sqlite3.Error) -> bool:
    """Whether there is no room left; over a quota, SQLite only says that it could not write."""
    full = {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_SHMSIZE,
    }
    return getattr(error, "sqlite_errorcode", None) in full


def _code(error: sqlite3.Error) -> int:
    # Errors that Python itself makes carry no code.
    return (getattr(error, "sqlite_errorcode", None) or 0) & _PRIMARY


def emptied(path: Path) -> str | None:
    """What says that an empty journal was not always so; None for a new one.

    Raises:
        OSError: it is not there, or its folder cannot be read.
    """
    if path.stat().st_size > LARGEST_EMPTY:
        return None
    if has_log(path):
        return "it is empty, but its log is not"
    for folder in (path.parent / name for name in _BESIDE):
        if folder.is_dir() and any(folder.iterdir()):
            return f"it is empty, but {folder} is not"
    return None


class Guard:
    """The lock beside a journal's file; ``alone`` while nobody else has the journal open.

    A mark in it says that the journal was found damaged while it was in use.

    Raises:
        OSError: it cannot be made, or others hold it too long.
    """

    def __init__(self, path: Path) -> None:
        fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(fd, "r+b", buffering=0)
        self._path = path
        self._give_up_at = time.monotonic() + LOCK_SECONDS
        self.alone: bool = False

    @property
    def doubtful(self) -> bool:
        """Whether the last user was killed, or found damage."""
        return has_log(self._path) or os.fstat(self._file.fileno()).st_size > 0

    def enter(self) -> None:
        """Hold the journal: alone if nobody else does."""
        while True:
            for how in (fcntl.LOCK_EX, fcntl.LOCK_SH):
                with suppress(BlockingIOError):
                    fcntl.flock(self._file, how | fcntl.LOCK_NB)
                    self.alone = how == fcntl.LOCK_EX
                    return
            self.wait()

    def share(self) -> None:
        """Let others in; what was in doubt is settled."""
        if self.alone:
            self._file.truncate(0)
            fcntl.flock(self._file, fcntl.LOCK_SH)
            self.alone = False

    def wait(self) -> None:
        """Let go, for a moment; TimeoutError when there was time enough."""
        fcntl.flock(self._file, fcntl.LOCK_UN)
        if time.monotonic() > self._give_up_at:
            raise TimeoutError(0, "it is damaged or locked, and in use by another process")
        # At random, so that two who want it alone do not meet again.
        time.sleep(random.uniform(0.005, 0.05))  # noqa: S311 - no secret

    def mark(self) -> None:
        """Have the next one that is alone check the journal."""
        with suppress(OSError):
            self._file.write(b"damaged")

    def close(self) -> None:
        """Let go."""
        self._file.close()


def quarantine(path: Path, reason: str) -> None:
    """Move a damaged journal and its log beside itself, and say so; hold it alone meanwhile."""
    copy = f"{path}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    # The file itself comes last: if this is cut short, what is left is still found damaged.
    for suffix in (*_WAL_SUFFIXES, ""):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{copy}{suffix}")
    sync_folder(path.parent)
    log.error(
        "the journal %s is damaged (%s): it was moved to %s, and undelivered reports may be in it;"
        " a new journal is begun",
        path,
        reason,
        copy,
    )


def sync_folder(folder: Path) -> None:
    """Have names that were made or moved on disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
