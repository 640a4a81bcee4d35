"""The subtasks that a service has accepted and not yet brought to their end, in order.

Beside them stand the calls that were taken lately, each as a number made of its signature, so that
none is taken twice.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from plugin_framework.journal.database import Database
from plugin_framework.journal.timeline import NOTE, cleaned


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
    started. ``accepted`` is in Unix seconds.
    """

    place: int
    subtask_id: str
    plugin: str
    wanted: int
    attempts: int
    accepted: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a subtask that did not run here, and the report on it: ``Journal.add_report``.

    ``fate`` is what became of the report elsewhere; one that is pending is sent from here.
    """

    subtask_id: str
    status: int
    path: str
    body: bytes
    outcome: Mapping[str, Any]
    fate: Literal["pending", "delivered", "refused"] = "pending"


@dataclass(frozen=True, slots=True)
class Note:
    """Something that happened to a subtask of the queue, elsewhere.

    ``node`` is who has it now, in which ``attempt``; None where nobody is known to.
    """

    subtask_id: str
    kind: Literal["handed over", "taken", "given back", "published again"]
    attempt: int = 0
    node: str | None = None


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


_KNOWN = (
    "INSERT INTO subtasks (subtask_id, task_id, plugin, config, created)"
    " SELECT subtask_id, task_id, plugin, config, accepted FROM queue"
    " WHERE subtask_id = ? ON CONFLICT DO NOTHING"
)


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
            db.executemany(_KNOWN, [(one,) for one in over])
            db.executemany(
                NOTE,
                [(now, "dropped", _json({"error": why}), one) for one, why in changes.dropped],
            )
            for one in changes.ended:
                _end(db, one, now)
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
            db.executemany(
                "UPDATE queue SET wanted = ? WHERE subtask_id = ?",
                [(wanted, subtask_id) for subtask_id, wanted in changes.wanted],
            )
            db.executemany(
                "INSERT OR IGNORE INTO calls VALUES (?, ?)", [(one, now) for one in changes.calls]
            )

    def waiting(self) -> list[Waiting]:
        """All that is in the queue, in order."""
        with self._db.read() as db:
            rows = db.execute(
                "SELECT place, subtask_id, plugin, wanted, max(attempt, (SELECT count(*)"
                " FROM attempts a WHERE a.subtask_id = q.subtask_id)), accepted"
                " FROM queue q ORDER BY place"
            ).fetchall()
        return [Waiting(*row) for row in rows]

    def find(self, subtask_id: str) -> Accepted | None:
        """A subtask as it was accepted, if it is in the queue."""
        return next(iter(self.find_all([subtask_id])), None)

    def find_all(self, subtask_ids: Collection[str], *, size: int = 0) -> list[Accepted]:
        """Those of the subtasks that are in the queue, as they were accepted, in order.

        No more of them than have configs of ``size`` characters together, but always the first.
        """
        found: list[Accepted] = []
        with self._db.read() as db:
            for row in db.execute(
                "SELECT place, subtask_id, task_id, plugin, config FROM queue"
                " WHERE subtask_id IN (SELECT value FROM json_each(?)) ORDER BY place",
                (json.dumps(list(subtask_ids)),),
            ):
                found.append(Accepted(*row))
                size -= len(found[-1].config)
                if size < 0:
                    break
        return found

    def note(self, notes: Iterable[Note]) -> None:
        """Have in the timelines what happened elsewhere, without waiting for the disk."""
        now = time.time()
        with self._db.write(durable=False) as db:
            for one in notes:
                # Before any attempt, for a timeline belongs to a subtask that is known.
                db.execute(_KNOWN, (one.subtask_id,))
                if one.kind != "handed over":  # a node may have been seen with it by now
                    db.execute(
                        "UPDATE queue SET node = ?, attempt = max(attempt, ?) WHERE subtask_id = ?",
                        (one.node, one.attempt, one.subtask_id),
                    )
                detail = {"attempt": one.attempt, "node": one.node} if one.node else {}
                db.execute(NOTE, (now, one.kind, _json(detail), one.subtask_id))

    def explain(self, plugin: str, why: str | None) -> None:
        """Note why the subtasks of a plugin wait; None: for nothing but their turn."""
        with self._db.write(durable=False) as db:
            db.execute("DELETE FROM reasons WHERE plugin = ?", (plugin,))
            if why is not None:
                db.execute("INSERT INTO reasons VALUES (?, ?)", (plugin, cleaned(why)))

    def forget_reasons(self) -> None:
        """Have nothing explained any more."""
        with self._db.write(durable=False) as db:
            db.execute("DELETE FROM reasons")

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
                "SELECT config FROM queue WHERE subtask_id = ?"
                " UNION ALL SELECT config FROM subtasks WHERE subtask_id = ? LIMIT 1",
                (subtask_id, subtask_id),
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


def _end(db: sqlite3.Connection, one: Ended, now: float) -> None:
    settled = None if one.fate == "pending" else now
    # What is settled here is of an earlier life; what is pending here may be settled elsewhere.
    db.execute(
        "INSERT INTO reports (subtask_id, status, path, body, outcome, created, fate, settled)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (subtask_id) WHERE outcome IS NOT NULL DO UPDATE SET"
        " status = excluded.status, path = excluded.path, body = excluded.body,"
        " outcome = excluded.outcome, created = excluded.created, fate = excluded.fate,"
        " settled = excluded.settled"
        " WHERE reports.fate <> excluded.fate"
        " OR reports.fate <> 'pending' AND reports.body <> excluded.body",
        (
            one.subtask_id,
            one.status,
            one.path,
            one.body,
            json.dumps(one.outcome),
            now,
            one.fate,
            settled,
        ),
    )
    if node := one.outcome.get("node"):
        detail = {"attempt": one.outcome.get("attempt"), "node": node, "status": one.status}
        db.execute(NOTE, (now, "ended", _json(detail), one.subtask_id))


def _json(detail: Mapping[str, Any]) -> str:
    return json.dumps(cleaned(dict(detail)))
