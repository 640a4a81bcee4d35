"""The emulator's state: one SQLite file, shared by the server and whoever looks on."""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUSY_SECONDS = 30.0

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS subtasks (
    number INTEGER PRIMARY KEY,
    subtask_id TEXT NOT NULL UNIQUE,
    task_id TEXT,
    status INTEGER NOT NULL DEFAULT 0,
    requested INTEGER,               -- what the operator wants, until the plugin confirms it
    progress INTEGER NOT NULL DEFAULT 0,
    heartbeat_at REAL,
    config TEXT NOT NULL,
    result TEXT,
    final_report TEXT,               -- digest of the acknowledged terminal report
    input_key TEXT,
    input_name TEXT,
    created_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    subtask_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL,
    code INTEGER NOT NULL,
    message TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_subtask ON events (subtask_id);
CREATE TABLE IF NOT EXISTS uploads (
    upload_id TEXT PRIMARY KEY,
    subtask_id TEXT NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    parts INTEGER NOT NULL,
    multipart INTEGER NOT NULL,
    completed INTEGER UNIQUE,        -- counts completions, in their order
    manifest TEXT                    -- the parts it was completed with
);
CREATE TABLE IF NOT EXISTS parts (
    upload_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    blob TEXT NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    PRIMARY KEY (upload_id, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    key TEXT PRIMARY KEY,
    blob TEXT NOT NULL,
    size INTEGER,                    -- size and etag are null for a linked file: see objects.py
    etag TEXT
) WITHOUT ROWID;
"""


class Database:
    """One connection, used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        # The file holds the storage's signing secret; the journal files beside it take its mode.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._connection.row_factory = sqlite3.Row
        self._connection.executescript(SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other writer can come between; rolled back if it raises."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def secret(self, name: str) -> str:
        """The random secret of that name, made at first use and kept from then on."""
        with self.transaction() as sql:
            sql.execute(
                "INSERT OR IGNORE INTO secrets VALUES (?, ?)", (name, secrets.token_hex(32))
            )
            row = sql.execute("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()
            return str(row["value"])

    def close(self) -> None:
        """Close the connection; nothing is lost without it."""
        with self._lock:
            self._connection.close()
