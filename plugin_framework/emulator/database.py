"""The emulator's state: one SQLite file, shared by the server and whoever looks on."""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from plugin_framework.emulator.schema import prepare

BUSY_SECONDS = 30.0


class Database:
    """One connection that writes, for one thread at a time, and as many readers as there are.

    Raises:
        ConfigurationError: a newer version made the file.
    """

    def __init__(self, path: Path) -> None:
        # The file holds the storage's signing secret; the journal files beside it take its mode.
        # To open and close one that is in use would drop the locks that this process has on it.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        self._path = path
        self._lock = threading.Lock()
        self._connection = _connect(path)
        self._idle: list[sqlite3.Connection] = []
        self._idle_lock = threading.Lock()
        self._closed = False
        try:
            prepare(self._connection)
        except BaseException:
            self._connection.close()
            raise

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

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The state at one moment. It waits for no writer, and no writer waits for it."""
        connection = self._reader()
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.execute("ROLLBACK")
            self._put_back(connection)

    def _reader(self) -> sqlite3.Connection:
        with self._idle_lock:
            if self._closed:
                raise sqlite3.ProgrammingError("the state is closed")
            if self._idle:
                return self._idle.pop()
        connection = _connect(self._path)
        connection.execute("PRAGMA query_only = ON")
        return connection

    def _put_back(self, connection: sqlite3.Connection) -> None:
        with self._idle_lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def secret(self, name: str) -> str:
        """The random secret of that name, made at first use and kept from then on."""
        with self.transaction() as sql:
            sql.execute(
                "INSERT OR IGNORE INTO secrets VALUES (?, ?)", (name, secrets.token_hex(32))
            )
            row = sql.execute("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()
            return str(row["value"])

    def close(self) -> None:
        """Close the connections; nothing is lost without it."""
        with self._idle_lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        with self._lock:
            self._connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    return connection
