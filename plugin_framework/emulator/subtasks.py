"""Subtasks as Datahub keeps them, and the record of what the plugin sent for them."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from plugin_framework.emulator.database import Database
from plugin_framework.emulator.rules import Refused
from plugin_framework.protocol.models import TaskStatus

HEARTBEATS_KEPT: Final = 240
"""Newest heartbeat events of a subtask that goes on: two hours of them."""

HEARTBEATS_KEPT_OF_ENDED: Final = 60

EVENTS_KEPT: Final = 1000
"""Newest events of each other kind."""

_THINNING: Final = 1 / 32  # the share of events at which the older ones are looked at
_THIN: Final = """
DELETE FROM events WHERE number IN (
    SELECT number FROM (
        SELECT number, kind, ROW_NUMBER() OVER (PARTITION BY kind ORDER BY number DESC) AS place
        FROM events WHERE subtask_id = ?
    ) WHERE place > IIF(kind = 'heartbeat', ?, ?)
)
"""


@dataclass(frozen=True, slots=True)
class Subtask:
    """A subtask. Times are in Unix seconds, ``progress`` in percent, ``input_size`` in bytes.

    ``status`` is what the plugin has reported; ``requested`` is what an operator wants of it and
    the plugin has not confirmed yet. ``final_report`` is the digest of the terminal report.
    ``dispatch`` is how far its create_task is: none, waiting, accepted or refused. ``reason`` says
    why it failed, was refused or waits. ``revision`` grows with every change of any subtask, and
    is no part of what a subtask is. In lists ``result`` is None: it may be large.
    """

    subtask_id: str
    task_id: str | None
    plugin: str | None
    service: str | None
    status: TaskStatus
    requested: TaskStatus | None
    dispatch: str
    reason: str | None
    progress: int
    config: dict[str, Any]
    result: dict[str, Any] | None
    input_name: str | None
    input_size: int | None
    input_key: str | None = field(repr=False)
    final_report: str | None = field(repr=False)
    created_at: float
    started_at: float | None
    ended_at: float | None
    heartbeat_at: float | None
    lost_at: float | None
    revision: int = field(compare=False)

    @classmethod
    def of(cls, row: sqlite3.Row) -> Subtask:
        """Read a row of the table, in which the result may be missing."""
        requested = row["requested"]
        result = row["result"] if "result" in row.keys() else None  # noqa: SIM118 - a Row's values are what it contains
        return cls(
            subtask_id=row["subtask_id"],
            task_id=row["task_id"],
            plugin=row["plugin"],
            service=row["service"],
            status=TaskStatus(row["status"]),
            requested=None if requested is None else TaskStatus(requested),
            dispatch=row["dispatch"],
            reason=row["reason"],
            progress=row["progress"],
            config=json.loads(row["config"]),
            result=None if result is None else json.loads(result),
            input_name=row["input_name"],
            input_size=row["input_size"],
            input_key=row["input_key"],
            final_report=row["final_report"],
            created_at=row["created_at"],
            started_at=row["started_at"],
            ended_at=row["ended_at"],
            heartbeat_at=row["heartbeat_at"],
            lost_at=row["lost_at"],
            revision=row["revision"],
        )


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a subtask, ``at`` Unix seconds; ``number`` grows with time.

    ``kind`` is status, heartbeat, download, upload_init, upload (completed) or result for what
    the plugin sent, and operator for what it was asked. dispatch is about its create_task, lost
    and found are about its silence, get and put are transfers. ``code`` is what the plugin was
    answered, or what the service answered.
    """

    number: int
    at: float
    subtask_id: str
    kind: str
    detail: dict[str, Any]
    code: int
    message: str

    @property
    def accepted(self) -> bool:
        """Whether Datahub took it."""
        return self.code == 0


def find(sql: sqlite3.Connection, subtask_id: str) -> Subtask:
    """The subtask of that id.

    Raises:
        Refused: there is none.
    """
    row = sql.execute("SELECT * FROM subtasks WHERE subtask_id = ?", (subtask_id,)).fetchone()
    if row is None:
        raise Refused("unknown subtask")
    return Subtask.of(row)


def find_open(sql: sqlite3.Connection, subtask_id: str) -> Subtask:
    """The same, refused if nothing may be sent for it any more."""
    subtask = find(sql, subtask_id)
    _check_open(subtask.status)
    return subtask


def open_status(sql: sqlite3.Connection, subtask_id: str) -> TaskStatus:
    """The status of a subtask that has not ended, without reading all of it.

    Raises:
        Refused: there is none, or it has ended.
    """
    query = "SELECT status FROM subtasks WHERE subtask_id = ?"
    row = sql.execute(query, (subtask_id,)).fetchone()
    if row is None:
        raise Refused("unknown subtask")
    status = TaskStatus(row["status"])
    _check_open(status)
    return status


def _check_open(status: TaskStatus) -> None:
    if status.is_final:
        raise Refused(f"already completed (status {status:d})")


def record(
    sql: sqlite3.Connection,
    subtask_id: str,
    kind: str,
    detail: Mapping[str, Any],
    refused: Refused | None = None,
) -> None:
    """Add an event, in the transaction of what it is about."""
    code, message = (refused.api_code, refused.message) if refused else (0, "")
    sql.execute(
        "INSERT INTO events (at, subtask_id, kind, detail, code, message)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (time.time(), subtask_id, kind, json.dumps(detail), code, message),
    )
    if random.random() < _THINNING:  # noqa: S311 - no secret
        thin(sql, subtask_id, HEARTBEATS_KEPT)


def thin(sql: sqlite3.Connection, subtask_id: str, heartbeats: int) -> None:
    """Forget all but the newest events."""
    sql.execute(_THIN, (subtask_id, heartbeats, EVENTS_KEPT))


def heard(sql: sqlite3.Connection, subtask_id: str) -> None:
    """Note that the plugin has sent something for a subtask: it is not lost."""
    row = sql.execute(
        "UPDATE subtasks SET seen_at = ? WHERE subtask_id = ? AND status IN (1, 2)"
        " RETURNING lost_at",
        (time.time(), subtask_id),
    ).fetchone()
    if row is not None and row["lost_at"] is not None:
        sql.execute("UPDATE subtasks SET lost_at = NULL WHERE subtask_id = ?", (subtask_id,))
        record(sql, subtask_id, "found", {"seconds": round(time.time() - row["lost_at"], 3)})


def mark_lost(sql: sqlite3.Connection, before: float, most: int) -> int:
    """Mark at most so many subtasks lost from which nothing came since ``before``; how many."""
    rows = sql.execute(
        "UPDATE subtasks SET lost_at = ? WHERE number IN (SELECT number FROM subtasks"
        " WHERE status IN (1, 2) AND lost_at IS NULL AND seen_at < ? LIMIT ?)"
        " RETURNING subtask_id, seen_at",
        (time.time(), before, most),
    ).fetchall()
    for row in rows:
        record(sql, row["subtask_id"], "lost", {"seconds": round(time.time() - row["seen_at"], 3)})
    return len(rows)


@contextmanager
def recorded(
    database: Database, subtask_id: str, kind: str, detail: Mapping[str, Any]
) -> Iterator[sqlite3.Connection]:
    """A transaction whose outcome is an event. What refuses must do so before it writes."""
    refused: Refused | None = None
    with database.transaction() as sql:
        heard(sql, subtask_id)
        try:
            yield sql
        except Refused as error:
            refused = error
        record(sql, subtask_id, kind, detail, refused)
    if refused is not None:
        raise refused


def events_of(
    sql: sqlite3.Connection, subtask_id: str, after: int = 0, limit: int = -1
) -> list[Event]:
    """What happened to the subtask since event ``after``, oldest first; -1: all of it."""
    rows = sql.execute(
        "SELECT * FROM events WHERE subtask_id = ? AND number > ? ORDER BY number LIMIT ?",
        (subtask_id, after, limit),
    )
    return [
        Event(
            number=row["number"],
            at=row["at"],
            subtask_id=row["subtask_id"],
            kind=row["kind"],
            detail=json.loads(row["detail"]),
            code=row["code"],
            message=row["message"],
        )
        for row in rows
    ]
