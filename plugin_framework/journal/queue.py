"""The subtasks that a service has accepted and not yet brought to their end, in order.

Beside them stand the calls that were taken lately, each as a number made of its signature, so that
none is taken twice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plugin_framework.journal.database import Database
from plugin_framework.journal.timeline import cleaned


@dataclass(frozen=True, slots=True)
class Accepted:
    """A subtask to run. ``config`` is JSON text; ``place`` is its place in the queue."""

    place: int
    subtask_id: str
    task_id: str | None
    plugin: str
    config: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A subtask found in the queue.

    ``wanted`` is the status that was last asked for: 1, 2 or 4. ``attempts`` is how often it was
    started.
    """

    place: int
    subtask_id: str
    plugin: str
    wanted: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a subtask that never ran, and the report on it, as of ``Journal.add_report``."""

    subtask_id: str
    status: int
    path: str
    body: bytes
    outcome: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ending:
    """What a subtask ended as, and whether Datahub has acknowledged that."""

    status: int
    delivered: bool


@dataclass(slots=True)
class Changes:
    """What is written in one transaction. ``calls`` are numbers of 64 bits, signed.

    ``dropped`` are those whose start Datahub refused, and why: they stay known, but do not wait.
    """

    added: list[Accepted] = field(default_factory=list)
    wanted: list[tuple[str, int]] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)


class Queue:
    """The queue of one service."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def write(self, changes: Changes) -> None:
        """Make all the changes, or none; they are on disk when this returns."""
        now = time.time()
        with self._db.write() as db:
            dropped = [subtask_id for subtask_id, _ in changes.dropped]
            over = [*dropped, *(one.subtask_id for one in changes.ended)]
            db.executemany(
                "INSERT INTO subtasks (subtask_id, task_id, plugin, config, created)"
                " SELECT subtask_id, task_id, plugin, config, accepted FROM queue"
                " WHERE subtask_id = ? ON CONFLICT DO NOTHING",
                [(one,) for one in over],
            )
            db.executemany(
                "INSERT INTO events (subtask_id, at, kind, detail) VALUES (?, ?, 'dropped', ?)",
                [(one, now, json.dumps({"error": cleaned(why)})) for one, why in changes.dropped],
            )
            for one in changes.ended:
                db.execute(
                    "INSERT INTO reports (subtask_id, status, path, body, outcome, created)"
                    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    (
                        one.subtask_id,
                        one.status,
                        one.path,
                        one.body,
                        json.dumps(one.outcome),
                        now,
                    ),
                )
            gone = [*changes.removed, *over]
            db.executemany("DELETE FROM queue WHERE subtask_id = ?", [(one,) for one in gone])
            db.executemany(
                "INSERT INTO queue (place, subtask_id, task_id, plugin, config, accepted)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (one.place, one.subtask_id, one.task_id, one.plugin, one.config, now)
                    for one in changes.added
                ],
            )
            db.executemany("UPDATE queue SET wanted = ?2 WHERE subtask_id = ?1", changes.wanted)
            db.executemany(
                "INSERT OR IGNORE INTO calls VALUES (?, ?)", [(one, now) for one in changes.calls]
            )

    def waiting(self) -> list[Waiting]:
        """All that is in the queue, in order."""
        with self._db.read() as db:
            rows = db.execute(
                "SELECT place, subtask_id, plugin, wanted, (SELECT count(*) FROM attempts a"
                " WHERE a.subtask_id = q.subtask_id) FROM queue q ORDER BY place"
            ).fetchall()
        return [Waiting(*row) for row in rows]

    def find(self, subtask_id: str) -> Accepted | None:
        """A subtask as it was accepted, if it is in the queue."""
        with self._db.read() as db:
            row = db.execute(
                "SELECT place, subtask_id, task_id, plugin, config FROM queue WHERE subtask_id = ?",
                (subtask_id,),
            ).fetchone()
        return Accepted(*row) if row else None

    def endings(self, subtask_ids: Collection[str]) -> dict[str, Ending]:
        """Those that have ended here."""
        with self._db.read() as db:
            rows = db.execute(
                "SELECT subtask_id, status, fate = 'delivered' FROM reports"
                " WHERE outcome IS NOT NULL AND subtask_id IN (SELECT value FROM json_each(?))",
                (json.dumps(list(subtask_ids)),),
            ).fetchall()
        return {subtask_id: Ending(status, bool(sent)) for subtask_id, status, sent in rows}

    def config(self, subtask_id: str) -> Any:
        """What a subtask was given, as it waits, runs or has ended; None if it is not known."""
        with self._db.read() as db:
            row = db.execute(
                "SELECT config FROM queue WHERE subtask_id = ?1"
                " UNION ALL SELECT config FROM subtasks WHERE subtask_id = ?1 LIMIT 1",
                (subtask_id,),
            ).fetchone()
        return json.loads(row[0]) if row else None

    def undelivered(self) -> Sequence[str]:
        """The subtasks of which a report is still to be sent."""
        with self._db.read() as db:
            rows = db.execute(
                "SELECT DISTINCT subtask_id FROM reports WHERE fate = 'pending'"
            ).fetchall()
        return [subtask_id for (subtask_id,) in rows]

    def calls(self) -> list[tuple[int, float]]:
        """The calls that are remembered, with their times in Unix seconds."""
        with self._db.read() as db:
            return db.execute("SELECT call_id, at FROM calls").fetchall()

    def forget_calls(self, before: float) -> None:
        """Forget the calls taken before a time in Unix seconds."""
        with self._db.write(durable=False) as db:
            db.execute("DELETE FROM calls WHERE at < ?", (before,))
