"""Everything that must survive a crash: subtasks, attempts, saved state, undelivered reports.

One SQLite file (WAL, synchronous=FULL): a write that has returned is on disk. Reports hold no
secret and no URL. All SQL of the framework is here.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from plugin_framework.errors import JournalError

SCHEMA_VERSION = 1
SCHEMA = """
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
"""

Fate = Literal["pending", "delivered", "refused"]
BUSY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Report:
    """A status or a result on its way to Datahub: ``body`` is sent to ``path`` as it stands.

    ``outcome`` is what the subtask ended as; only a terminal report has one.
    """

    report_id: int
    subtask_id: str
    status: int
    path: str
    body: bytes
    outcome: dict[str, Any] | None
    fate: Fate


class Journal:
    """The journal file. Safe to use from several threads and processes.

    Raises:
        JournalError: at opening and at every call, when the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = self._open()
        except (OSError, sqlite3.Error) as error:
            raise JournalError(_advice(path, error)) from None

    def close(self) -> None:
        """Close the file; what was written stays."""
        with self._lock:
            self._db.close()

    def start_attempt(
        self, subtask_id: str, *, task_id: str | None, plugin: str, config: Mapping[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        """Note another attempt, and return its number (from 1) and the state saved before it."""
        now = time.time()
        with self._write() as db:
            db.execute(
                "INSERT INTO subtasks (subtask_id, task_id, plugin, config, created)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " task_id = excluded.task_id, plugin = excluded.plugin, config = excluded.config",
                (subtask_id, task_id, plugin, json.dumps(config), now),
            )
            attempt, state = db.execute(
                "SELECT (SELECT coalesce(max(attempt), 0) + 1 FROM attempts"
                " WHERE subtask_id = s.subtask_id), state FROM subtasks s WHERE subtask_id = ?",
                (subtask_id,),
            ).fetchone()
            db.execute("INSERT INTO attempts VALUES (?, ?, ?)", (subtask_id, attempt, now))
        return attempt, json.loads(state)

    def forget_attempt(self, subtask_id: str, attempt: int) -> None:
        """Undo ``start_attempt``: nothing was run, and nothing is left to report."""
        with self._write() as db:
            db.execute(
                "DELETE FROM attempts WHERE subtask_id = ? AND attempt = ?", (subtask_id, attempt)
            )
            db.execute(
                "DELETE FROM reports WHERE subtask_id = ? AND fate <> 'delivered'", (subtask_id,)
            )
            db.execute(
                "DELETE FROM subtasks WHERE subtask_id = ?1 AND NOT EXISTS"
                " (SELECT 1 FROM attempts WHERE subtask_id = ?1)",
                (subtask_id,),
            )

    def save_state(self, subtask_id: str, state: Mapping[str, Any]) -> None:
        """Keep the state that the next attempt is to start from."""
        with self._write() as db:
            db.execute(
                "UPDATE subtasks SET state = ? WHERE subtask_id = ?",
                (json.dumps(state), subtask_id),
            )

    def add_report(
        self,
        subtask_id: str,
        *,
        status: int,
        path: str,
        body: bytes,
        outcome: Mapping[str, Any] | None = None,
    ) -> Report:
        """Append a report to the subtask's queue; on disk when this returns.

        Raises:
            JournalError: also for a second terminal report.
        """
        with self._write() as db:
            cursor = db.execute(
                "INSERT INTO reports (subtask_id, status, path, body, outcome, created)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    subtask_id,
                    status,
                    path,
                    body,
                    None if outcome is None else json.dumps(outcome),
                    time.time(),
                ),
            )
        kept = None if outcome is None else dict(outcome)
        return Report(cursor.lastrowid or 0, subtask_id, status, path, body, kept, "pending")

    def settle_report(self, report_id: int, fate: Literal["delivered", "refused"]) -> None:
        """Note that Datahub acknowledged a report, or refused it for good."""
        with self._write() as db:
            db.execute(
                "UPDATE reports SET fate = ?, settled = ? WHERE report_id = ?",
                (fate, time.time(), report_id),
            )

    def pending_reports(self, subtask_id: str) -> list[Report]:
        """What is still to be sent for a subtask, in order."""
        return [report for report in self._reports(subtask_id) if report.fate == "pending"]

    def ending(self, subtask_id: str) -> Report | None:
        """The subtask's terminal report, whatever became of it."""
        reports = self._reports(subtask_id)
        return next((report for report in reports if report.outcome is not None), None)

    def _reports(self, subtask_id: str) -> list[Report]:
        with self._guard():
            rows = self._db.execute(
                "SELECT report_id, subtask_id, status, path, body, outcome, fate FROM reports"
                " WHERE subtask_id = ? ORDER BY report_id",
                (subtask_id,),
            ).fetchall()
        return [
            Report(number, subtask, status, path, body, json.loads(kept) if kept else None, fate)
            for number, subtask, status, path, body, kept, fate in rows
        ]

    def _open(self) -> sqlite3.Connection:
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                db.execute(f"PRAGMA {pragma}")
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        _sync_folder(self.path.parent)
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise JournalError(
                f"the journal {self.path} was written by a newer version of the framework"
                f" (format {version}, this one reads {SCHEMA_VERSION}): upgrade, or set"
                " DATAHUB_STATE_DIR to another folder"
            )
        if version == 0:
            for statement in filter(str.strip, SCHEMA.split(";")):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")

    @contextmanager
    def _guard(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.IntegrityError as error:
                raise JournalError(f"the journal {self.path} refuses a write: {error}") from error
            except sqlite3.Error as error:
                raise JournalError(_advice(self.path, error)) from error

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._guard():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


def _advice(path: Path, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return (
        f"the journal {path} cannot be used ({reason}): make the folder writable, free some disk,"
        " or set DATAHUB_STATE_DIR to another folder"
    )


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
