"""Subtasks as Datahub keeps them, and the record of what the plugin sent for them."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from plugin_framework.emulator.database import Database
from plugin_framework.emulator.rules import Refused
from plugin_framework.protocol.models import TaskStatus


@dataclass(frozen=True, slots=True)
class Subtask:
    """A subtask. Times are in Unix seconds, ``progress`` in percent.

    ``status`` is what the plugin has reported; ``requested`` is what an operator wants of it and
    the plugin has not confirmed yet. ``final_report`` is the digest of the terminal report.
    """

    subtask_id: str
    task_id: str | None
    status: TaskStatus
    requested: TaskStatus | None
    progress: int
    heartbeat_at: float | None
    config: dict[str, Any]
    result: dict[str, Any] | None
    input_name: str | None
    input_key: str | None = field(repr=False)
    final_report: str | None = field(repr=False)
    created_at: float

    @classmethod
    def of(cls, row: sqlite3.Row) -> Subtask:
        """Read a row of the table."""
        requested, result = row["requested"], row["result"]
        return cls(
            subtask_id=row["subtask_id"],
            task_id=row["task_id"],
            status=TaskStatus(row["status"]),
            requested=None if requested is None else TaskStatus(requested),
            progress=row["progress"],
            heartbeat_at=row["heartbeat_at"],
            config=json.loads(row["config"]),
            result=None if result is None else json.loads(result),
            input_name=row["input_name"],
            input_key=row["input_key"],
            final_report=row["final_report"],
            created_at=row["created_at"],
        )


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a subtask, ``at`` Unix seconds.

    ``kind`` is status, heartbeat, download, upload_init, upload (completed) or result for what
    the plugin sent, and operator for what it was asked. ``code`` is what the plugin was answered.
    """

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
    if subtask.status.is_final:
        raise Refused(f"already completed (status {subtask.status:d})")
    return subtask


def record(
    sql: sqlite3.Connection,
    subtask_id: str,
    kind: str,
    detail: Mapping[str, Any],
    refused: Refused | None = None,
) -> None:
    """Add an event, in the transaction of what it is about."""
    code, message = (refused.code, refused.message) if refused else (0, "")
    sql.execute(
        "INSERT INTO events (at, subtask_id, kind, detail, code, message)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (time.time(), subtask_id, kind, json.dumps(detail), code, message),
    )


@contextmanager
def recorded(
    database: Database, subtask_id: str, kind: str, detail: Mapping[str, Any]
) -> Iterator[sqlite3.Connection]:
    """A transaction whose outcome is an event. What refuses must do so before it writes."""
    refused: Refused | None = None
    with database.transaction() as sql:
        try:
            yield sql
        except Refused as error:
            refused = error
        record(sql, subtask_id, kind, detail, refused)
    if refused is not None:
        raise refused


def events_of(sql: sqlite3.Connection, subtask_id: str) -> list[Event]:
    """What happened to the subtask, oldest first; without the transfers that storage saw."""
    rows = sql.execute(
        "SELECT * FROM events WHERE subtask_id = ? AND kind NOT IN ('get', 'put') ORDER BY number",
        (subtask_id,),
    )
    return [
        Event(
            at=row["at"],
            subtask_id=row["subtask_id"],
            kind=row["kind"],
            detail=json.loads(row["detail"]),
            code=row["code"],
            message=row["message"],
        )
        for row in rows
    ]
