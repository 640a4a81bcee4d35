"""Input files that were handed in before the subtask that is to read them."""

from __future__ import annotations

import time
from dataclasses import dataclass

from plugin_framework.emulator.backend import Backend
from plugin_framework.emulator.database import Database
from plugin_framework.emulator.pending import Blob
from plugin_framework.emulator.rules import Refused


@dataclass(frozen=True, slots=True)
class Input:
    """An input file; ``key`` is its object's, ``size`` in bytes.

    ``blob`` is there only for a linked file that has no object yet.
    """

    key: str
    name: str
    size: int
    blob: str | None = None


class Inputs:
    """Keeps them; any number of subtasks may read one."""

    def __init__(self, database: Database, backend: Backend) -> None:
        self._database = database
        self._backend = backend

    def add(self, name: str, blob: Blob) -> Input:
        """Keep a blob as the input of that file name."""
        key = self._backend.new_key()
        self._backend.adopt(key, blob)
        return self.register(key, name, blob.size)

    def register(self, key: str, name: str, size: int) -> Input:
        """Keep the name of an object that is in storage under ``key``."""
        with self._database.transaction() as sql:
            sql.execute("INSERT INTO inputs VALUES (?, ?, ?, ?)", (key, name, size, time.time()))
        return Input(key, name, size)

    def find(self, key: str, name: str | None = None) -> Input:
        """The input of that id, by another name where one is given.

        Raises:
            Refused: there is none.
        """
        with self._database.reading() as sql:
            row = sql.execute("SELECT * FROM inputs WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise Refused("there is no such input: hand it in first")
        return Input(row["key"], name or row["name"], row["size"])
