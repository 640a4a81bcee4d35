"""The journal's file: opened, checked, migrated and locked in one place.

SQLite with WAL and synchronous=FULL: a write that has returned is on disk.
"""

from __future__ import annotations

import math
import os
import pwd
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from plugin_framework.errors import Code, JournalDamagedError, JournalError, JournalFullError
from plugin_framework.journal.health import (
    Guard,
    emptied,
    is_damage,
    is_full,
    is_locked,
    quarantine,
    sync_folder,
)
from plugin_framework.journal.migrations import MIGRATIONS
from plugin_framework.journal.ownership import foreign, written_by_others

SCHEMA_VERSION = len(MIGRATIONS)
# secure_delete: the part URLs of an upload are credentials until they expire.
PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON")
BUSY_SECONDS = 30.0
"""How long to wait for another process that has the journal locked."""
NOTE_SECONDS = 2.0
"""The same, for what may be missing from it."""
HURRIED_SECONDS = 0.1
"""The same, where there is no time left: other threads of this process take no longer."""
_SLICE_SECONDS = 0.25
"""How long SQLite waits at a time; to be told to hurry counts from the next time."""
CHECKED_SIZE = 256 * 2**20
"""Bytes of a journal that is checked whenever nobody else has it open: about 1 ms for each MiB. A
larger one is checked only where there is reason to."""


class Readable(ABC):
    """A journal's open connection. Safe to use from several threads.

    Raises:
        JournalError: at opening and at every use, when the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._patient_until = math.inf
        try:
            _refuse(path, foreign(path, newest=SCHEMA_VERSION))
            self._connection = self._open()
            self._identity = _identity(path)
        except (OSError, sqlite3.Error) as error:
            raise JournalError(_advice(path, error)) from None

    def close(self) -> None:
        """Close the file; what was written stays."""
        with self._lock:
            self._connection.close()

    def hurry(self, seconds: float) -> None:
        """Have nothing wait for others longer than this from now, what waits already included."""
        self._patient_until = min(self._patient_until, time.monotonic() + seconds)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """The connection, to read from."""
        with self._held(BUSY_SECONDS) as (db, left):
            db.execute(f"PRAGMA busy_timeout = {left() * 1000:.0f}")
            yield db

    def is_sound(self) -> bool:
        """Whether the file itself is; what SQLite has in memory of it says little.

        Raises:
            JournalError: it cannot be read at all.
        """
        with (
            self._held(BUSY_SECONDS) as (_, left),
            closing(connect(self.path, left())) as afresh,
        ):
            return self.path.stat().st_size > CHECKED_SIZE or _damage_in(afresh) is None

    @contextmanager
    def _held(self, seconds: float) -> Iterator[tuple[sqlite3.Connection, Callable[[], float]]]:
        """The connection, and how long to wait for it yet.

        Nobody else, in this process or another, is waited for longer than ``seconds``.
        """
        began = time.monotonic()

        def left() -> float:
            hurried = max(self._patient_until, began + HURRIED_SECONDS)
            return max(min(began + seconds, hurried) - time.monotonic(), 0)

        def locked() -> str:
            return _locked(self.path, min(seconds, round(time.monotonic() - began, 1)))

        while not self._lock.acquire(timeout=min(left(), _SLICE_SECONDS)):
            if not left():
                raise JournalError(locked())
        try:
            if _identity(self.path) != self._identity:
                # SQLite would go on with a file that nobody will ever find.
                raise JournalDamagedError(
                    f"the journal {self.path} was removed or replaced while it was in use"
                )
            yield self._connection, left
        except sqlite3.IntegrityError as error:
            raise JournalError(f"the journal {self.path} refuses a write: {error}") from error
        except sqlite3.Error as error:
            if is_damage(error):
                self._found_damaged()
                raise JournalDamagedError(_advice(self.path, error)) from error
            if is_full(error):
                raise JournalFullError(_advice(self.path, error)) from error
            advice = locked() if is_locked(error) else _advice(self.path, error)
            raise JournalError(advice) from error
        finally:
            self._lock.release()

    @abstractmethod
    def _open(self) -> sqlite3.Connection:
        """Open it, checked and of this framework's format."""

    @abstractmethod
    def _found_damaged(self) -> None:
        """The file is damaged, and did not look so when it was opened."""


class Database(Readable):
    """A journal file. Safe to use from several threads and processes.

    A damaged one is put aside, and a new one begun.

    Raises:
        JournalError: at opening and at every use, when the file cannot be read or written.
    """

    def close(self) -> None:
        """Close the file; what was written stays."""
        with self._lock:
            super().close()
            self._guard.close()

    @contextmanager
    def write(self, *, durable: bool = True, patient: bool = False) -> Iterator[sqlite3.Connection]:
        """The connection in a transaction, which is on disk when this is left without an error.

        One that is not ``durable`` survives the process, and is on disk with the next one that is.
        It does not wait long where others have the journal, unless it is ``patient``.
        """
        short = NOTE_SECONDS if self._patient_until == math.inf else HURRIED_SECONDS
        with self._held(BUSY_SECONDS if durable or patient else short) as (db, left):
            _begin(db, left, synchronous="FULL" if durable else "NORMAL")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def empty_log(self) -> None:
        """Leave nothing of what was deleted in the log, unless somebody else is at work."""
        if self._lock.acquire(timeout=HURRIED_SECONDS):
            try:
                self._connection.execute("PRAGMA busy_timeout = 0")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            except sqlite3.Error:
                pass  # whoever writes next is told
            finally:
                self._lock.release()

    def _found_damaged(self) -> None:
        self._guard.mark()

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make_file(self.path)
        self._guard = Guard(self.path)
        try:
            self._guard.enter()
            # Before SQLite sees it: it takes an empty file for a new one, and removes its log.
            if self._guard.alone and (loss := emptied(self.path)):
                quarantine(self.path, loss)
                _make_file(self.path)
            return self._open_sound()
        except BaseException:
            self._guard.close()
            raise

    def _open_sound(self) -> sqlite3.Connection:
        while True:
            self._guard.enter()
            db = connect(self.path)
            try:
                damage = self._prepare(db)
                if damage and self._guard.alone:
                    # Before it is closed: closing removes the log, by its name.
                    quarantine(self.path, damage)
            except BaseException:
                db.close()
                raise
            if damage is None:
                self._guard.share()
                sync_folder(self.path.parent)
                return db
            db.close()
            if self._guard.alone:
                _make_file(self.path)
            else:
                self._guard.wait()

    def _prepare(self, db: sqlite3.Connection) -> str | None:
        """Make the file ready for use, or say what is damaged in it."""
        try:
            # Once more: it may have been locked before, or have come since.
            _refuse(self.path, written_by_others(db, newest=SCHEMA_VERSION))
            for pragma in PRAGMAS:
                db.execute(f"PRAGMA {pragma}")
            damage = _damage_in(db) if self._is_to_be_checked() else None
            if damage is None:
                migrate(db)
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                return str(error)
            raise
        return damage

    def _is_to_be_checked(self) -> bool:
        """A check reads the whole file, and finds what would else end a command half-way."""
        small = self.path.stat().st_size <= CHECKED_SIZE
        return self._guard.alone and (small or self._guard.doubtful)


def connect(path: Path | str, busy_seconds: float | None = None) -> sqlite3.Connection:
    """Open a database, and begin no transaction but those asked for."""
    timeout = BUSY_SECONDS if busy_seconds is None else busy_seconds
    return sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)


def _begin(db: sqlite3.Connection, left: Callable[[], float], *, synchronous: str) -> None:
    """Begin to write, once others let us: a little at a time, for they may tell us to hurry."""
    while True:
        slice_seconds = min(left(), _SLICE_SECONDS)
        try:
            db.execute(f"PRAGMA busy_timeout = {slice_seconds * 1000:.0f}")
            db.execute(f"PRAGMA synchronous = {synchronous}")
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not is_locked(error) or not left():
                raise
        else:
            return


def format_of(db: sqlite3.Connection) -> int:
    """The format of a journal: how many migrations it has had."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def migrate(db: sqlite3.Connection) -> None:
    """Bring a journal, or an empty database, to the format of this framework."""
    if format_of(db) == SCHEMA_VERSION:
        return  # and wait for nobody who writes
    db.execute("BEGIN IMMEDIATE")
    for step in MIGRATIONS[format_of(db) :]:
        for statement in filter(str.strip, step.split(";")):
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    db.execute("COMMIT")


def _refuse(path: Path, found: str | None) -> None:
    """Leave alone what another application, or a newer version, has written."""
    if found == "newer":
        raise JournalError(
            f"the journal {path} was written by a newer version of the framework (this one reads"
            f" formats up to {SCHEMA_VERSION}): upgrade, or set DATAHUB_STATE_DIR to another"
            " folder",
            code=Code.JOURNAL_FOREIGN,
        )
    if found is not None:
        raise JournalError(
            f"{path} is not a journal of this framework ({found}), and is left alone: move it"
            " elsewhere, or set DATAHUB_STATE_DIR to another folder",
            code=Code.JOURNAL_FOREIGN,
        )


def _make_file(path: Path) -> None:
    """Make the file for its owner alone, or raise the reason why it cannot be used."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        return
    # To open and close one that is in use would drop the locks that this process has on it.
    if path.is_file() and os.access(path, os.R_OK | os.W_OK):
        return
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(0, "it is no regular file")
    os.close(os.open(path, os.O_RDWR))


def _identity(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        facts = path.stat()
        return facts.st_dev, facts.st_ino
    return None


def _damage_in(db: sqlite3.Connection) -> str | None:
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    return None if found == "ok" else " ".join(found.split())


def _advice(path: Path, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    elsewhere = "set DATAHUB_STATE_DIR to another folder"
    if isinstance(error, sqlite3.Error) and is_damage(error):
        return f"the journal {path} is damaged ({reason}): the next start puts it aside"
    if isinstance(error, sqlite3.Error) and is_locked(error):
        return _locked(path, BUSY_SECONDS)
    if isinstance(error, PermissionError):
        return (
            f"the journal {path} is not for this user to use ({reason}{_owner(path)}): run as its"
            f" owner, or {elsewhere}"
        )
    return (
        f"the journal {path} cannot be used ({reason}): make the folder writable, free some disk,"
        f" or {elsewhere}"
    )


def _locked(path: Path, seconds: float) -> str:
    return (
        f"the journal {path} is locked, and was for {seconds:g} s (another process or thread is"
        " writing to it): try again when that has ended"
    )


def _owner(path: Path) -> str:
    """Whose it is, where that can be known."""
    try:
        uid = path.stat().st_uid
        name = pwd.getpwuid(uid).pw_name
    except OSError:
        return ""
    except KeyError:
        name = f"number {uid}"
    return f"; it belongs to user {name}"
