"""Counts bytes as storage passes them on, and records each transfer when it ends."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Collection
from typing import Final, Literal

from plugin_framework.emulator.database import Database
from plugin_framework.emulator.rules import Refused
from plugin_framework.emulator.subtasks import record

Kind = Literal["get", "put"]
"""A plugin's download, or its upload."""

CUT_SHORT: Final = "cut short"
_WATCHED_SECONDS: Final = 5.0
# Several subtasks may read one input; the newest of them is the likeliest that does it now.
_OWNER: Final = """
SELECT subtask_id, name FROM (
    SELECT subtask_id, name, 0 AS number FROM uploads WHERE key = :key
    UNION ALL
    SELECT subtask_id, input_name, number FROM subtasks WHERE input_key = :key
) ORDER BY number DESC LIMIT 1
"""


class Transfer:
    """Bytes under way to or from the object ``key``. ``add`` is for one thread at a time."""

    __slots__ = ("bytes", "key", "kind", "part", "seen", "started")

    def __init__(self, kind: Kind, key: str, part: int | None) -> None:
        self.kind = kind
        self.key: str = key
        self.part: int | None = part
        self.bytes: int = 0
        self.seen: int = 0
        self.started: float = time.monotonic()

    def add(self, count: int) -> None:
        """So many bytes have passed."""
        self.bytes += count


class Meter:
    """The transfers under way. ``end`` waits for the disk: it is for threads.

    Attributes:
        records: whether what ended becomes an event. Where nobody can look, it does not.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._active: set[Transfer] = set()
        self._ended: Counter[tuple[str, Kind]] = Counter()
        self._watched_until = 0.0
        self.records = False

    def begin(self, kind: Kind, key: str, part: int | None = None) -> Transfer:
        """A transfer that goes on until ``end``; ``part`` where it is one of several."""
        transfer = Transfer(kind, key, part)
        with self._lock:
            self._active.add(transfer)
        return transfer

    def end(self, transfer: Transfer, problem: str = "") -> None:
        """Record it, as an event of its subtask; ``problem`` says why it did not succeed."""
        with self._lock:
            self._active.discard(transfer)
            if time.monotonic() < self._watched_until:
                self._ended[transfer.key, transfer.kind] += transfer.bytes - transfer.seen
        if self.records:
            self._record(transfer, problem)

    def _record(self, transfer: Transfer, problem: str) -> None:
        seconds = round(time.monotonic() - transfer.started, 6)
        with self._database.transaction() as sql:
            owner = sql.execute(_OWNER, {"key": transfer.key}).fetchone()
            if owner is None:
                return
            detail = {
                "name": owner["name"],
                "bytes": transfer.bytes,
                "seconds": seconds,
                "part": transfer.part,
            }
            refused = Refused(problem) if problem else None
            record(sql, owner["subtask_id"], transfer.kind, detail, refused)

    def take(self) -> dict[tuple[str, Kind], int]:
        """The bytes that passed since this was last asked, by key and kind."""
        with self._lock:
            # Where nobody asks, what has ended is not kept for them.
            self._watched_until = time.monotonic() + _WATCHED_SECONDS
            taken, self._ended = self._ended, Counter()
            for transfer in self._active:
                passed = transfer.bytes
                taken[transfer.key, transfer.kind] += passed - transfer.seen
                transfer.seen = passed
        return {place: count for place, count in taken.items() if count}

    def owners(self, keys: Collection[str]) -> dict[str, str]:
        """The subtasks that these objects are of, where they are of any."""
        with self._database.reading() as sql:
            rows = {key: sql.execute(_OWNER, {"key": key}).fetchone() for key in keys}
        return {key: row["subtask_id"] for key, row in rows.items() if row is not None}
