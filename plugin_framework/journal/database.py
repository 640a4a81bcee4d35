"""The journal's file: opened, checked, migrated and locked in one place.

SQLite with WAL and synchronous=FULL: a write that has returned is on disk.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from plugin_framework.errors import JournalError
from plugin_framework.journal.health import (
    Guard,
    is_damage,
    quarantine,
    sync_folder,
)

# Each entry takes the file from the version that is its index to the next one. Never edit one that
# was released: add another.
MIGRATIONS = (
    """
CREATE TABLE subtasks (
    subtask_id TEXT PRIMARY KEY,
    task_id TEXT,
    plugin TEXT NOT NULL,
    config TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT '{}',
    created REAL NOT NULL
) STRICT;
CREATE TABLE attempts (
    subtask_id TEXT NOT NULL REFERENCES subtasks ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    started REAL NOT NULL,
    PRIMARY KEY (subtask_id, attempt)
) STRICT;
CREATE TABLE reports (
    report_id INTEGER PRIMARY KEY AUTOINCREMENT,
    subtask_id TEXT NOT NULL REFERENCES subtasks ON DELETE CASCADE,
    status INTEGER NOT NULL,
    path TEXT NOT NULL,
    body BLOB NOT NULL,
    outcome TEXT,
    created REAL NOT NULL,
    fate TEXT NOT NULL DEFAULT 'pending' CHECK (fate IN ('pending', 'delivered', 'refused')),
    settled REAL
) STRICT;
CREATE UNIQUE INDEX one_ending ON reports (subtask_id) WHERE outcome IS NOT NULL;
CREATE INDEX reports_in_order ON reports (subtask_id, report_id);
""",
    """
CREATE TABLE events (
    event_id INTEGER PRIMARY KEY AUTOINCREMENT,
    subtask_id TEXT NOT NULL REFERENCES subtasks ON DELETE CASCADE,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX events_in_order ON events (subtask_id, event_id);
CREATE TABLE uploads (
    subtask_id TEXT NOT NULL REFERENCES subtasks ON DELETE CASCADE,
    name TEXT NOT NULL,
    upload_id TEXT NOT NULL,
    size INTEGER NOT NULL,
    chunk INTEGER NOT NULL,
    urls TEXT NOT NULL,
    completed INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (subtask_id, name)
) STRICT;
CREATE TABLE upload_parts (
    subtask_id TEXT NOT NULL,
    name TEXT NOT NULL,
    part INTEGER NOT NULL,
    etag TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (subtask_id, name, part),
    FOREIGN KEY (subtask_id, name) REFERENCES uploads ON DELETE CASCADE
) STRICT;
""",
    # "DHPJ": tells a journal from another application's database.
    "PRAGMA application_id = 0x4448504A",
    """
CREATE TABLE outputs (
    subtask_id TEXT NOT NULL REFERENCES subtasks ON DELETE CASCADE,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT,
    PRIMARY KEY (subtask_id, name)
) STRICT;
ALTER TABLE uploads ADD COLUMN part_size INTEGER NOT NULL DEFAULT 0;
""",
    """
CREATE TABLE queue (
    place INTEGER PRIMARY KEY,
    subtask_id TEXT NOT NULL UNIQUE,
    task_id TEXT,
    plugin TEXT NOT NULL,
    config TEXT NOT NULL,
    wanted INTEGER NOT NULL DEFAULT 1,
    accepted REAL NOT NULL
) STRICT;
CREATE TABLE calls (
    call_id INTEGER PRIMARY KEY,
    at REAL NOT NULL
) STRICT;
CREATE INDEX calls_in_order ON calls (at);
CREATE INDEX undelivered ON reports (subtask_id) WHERE fate = 'pending';
""",
)
SCHEMA_VERSION = len(MIGRATIONS)
BUSY_SECONDS = 30.0


class Database:
    """A journal file. Safe to use from several threads and processes.

    A damaged one is put aside, and a new one begun.

    Raises:
        JournalError: at opening and at every use, when the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _make_file(path)
            self._guard = Guard(path)
            try:
                self._connection = self._open()
            except BaseException:
                self._guard.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise JournalError(_advice(path, error)) from None

    def close(self) -> None:
        """Close the file; what was written stays."""
        with self._lock:
            self._connection.close()
            self._guard.close()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """The connection, to read from."""
        with self._lock:
            try:
                yield self._connection
            except sqlite3.IntegrityError as error:
                raise JournalError(f"the journal {self.path} refuses a write: {error}") from error
            except sqlite3.Error as error:
                if is_damage(error):
                    self._guard.mark()
                raise JournalError(_advice(self.path, error)) from error

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """The connection in a transaction, which is on disk when this is left without an error.

        One that is not ``durable`` survives the process, and is on disk with the next one that is.
        """
        with self.read() as db:
            db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _open(self) -> sqlite3.Connection:
        while True:
            self._guard.enter()
            # A check reads the whole file, so it is made where there is reason to.
            check = self._guard.alone and self._guard.doubtful
            db = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                damage = self._prepare(db, check=check)
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

    def _prepare(self, db: sqlite3.Connection, *, check: bool) -> str | None:
        """Make the file ready for use, or say what is damaged in it."""
        try:
            self._version(db)
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                db.execute(f"PRAGMA {pragma}")
            damage = _damage_in(db) if check else None
            if damage is None:
                self._migrate(db)
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                return str(error)
            raise
        return damage

    def _version(self, db: sqlite3.Connection) -> int:
        """The file's format; JournalError for one that is newer than this framework."""
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise JournalError(
                f"the journal {self.path} was written by a newer version of the framework"
                f" (format {version}, this one reads {SCHEMA_VERSION}): upgrade, or set"
                " DATAHUB_STATE_DIR to another folder"
            )
        return int(version)

    def _migrate(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        for step in MIGRATIONS[self._version(db) :]:
            for statement in filter(str.strip, step.split(";")):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")


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


def _damage_in(db: sqlite3.Connection) -> str | None:
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    return None if found == "ok" else " ".join(found.split())


def _advice(path: Path, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    if isinstance(error, sqlite3.Error) and is_damage(error):
        return f"the journal {path} is damaged ({reason}): the next start puts it aside"
    return (
        f"the journal {path} cannot be used ({reason}): make the folder writable, free some disk,"
        " or set DATAHUB_STATE_DIR to another folder"
    )
