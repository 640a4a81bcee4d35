"""What the emulator's state knows of a request, and the record of the faults that hit it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import replace

from plugin_framework.emulator.chaos.engine import Chaos, Injection
from plugin_framework.emulator.chaos.requests import Clues
from plugin_framework.emulator.chaos.target import Target
from plugin_framework.emulator.database import Database

_RECORD = """
INSERT INTO events (at, subtask_id, kind, detail, code, message)
SELECT ?, subtask_id, 'fault', ?, 0, '' FROM subtasks WHERE subtask_id = ?
"""


class Ledger:
    """Its calls wait for the disk: they are for threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def decide(self, chaos: Chaos, clues: Clues) -> tuple[Target, list[Injection]]:
        """What a request is about, and what it is hit by, which is recorded."""
        with self._database.reading() as sql:
            target = _target(sql, clues)
        injections = chaos.decide(target)
        if injections and target.subtask:
            self.record(target, injections)
        return target, injections

    def record(self, target: Target, injections: Sequence[Injection]) -> None:
        """Add an event for each, where there is such a subtask."""
        with self._database.transaction() as sql:
            for injection in injections:
                detail = json.dumps(_detail(target, injection))
                sql.execute(_RECORD, (time.time(), detail, target.subtask))


def _target(sql: sqlite3.Connection, clues: Clues) -> Target:
    target = Target(
        clues.call,
        clues.method,
        subtask=clues.subtask,
        name=clues.name,
        key=clues.key,
        part=clues.part,
    )
    if clues.key:
        return _of_key(sql, target)
    if clues.call == "notify":
        return _of_task(sql, target, clues.task)
    if clues.call == "upload_complete":
        query = "SELECT name, key FROM uploads WHERE upload_id = ? AND subtask_id = ?"
        row = sql.execute(query, (clues.upload, clues.subtask)).fetchone()
        return replace(target, name=row["name"], key=row["key"]) if row else target
    if clues.call == "download_presign":
        query = "SELECT input_name FROM subtasks WHERE subtask_id = ?"
        row = sql.execute(query, (clues.subtask,)).fetchone()
        return replace(target, name=row["input_name"] or "") if row else target
    return target


def _of_key(sql: sqlite3.Connection, target: Target) -> Target:
    row = sql.execute(
        "SELECT subtask_id, name FROM uploads WHERE key = :key"
        " UNION ALL SELECT subtask_id, input_name FROM subtasks WHERE input_key = :key LIMIT 1",
        {"key": target.key},
    ).fetchone()
    return replace(target, subtask=row["subtask_id"], name=row["name"] or "") if row else target


def _of_task(sql: sqlite3.Connection, target: Target, task: str) -> Target:
    """The id of notify may be a task's: it is then about the newest of its subtasks."""
    row = sql.execute(
        "SELECT subtask_id FROM subtasks WHERE subtask_id = :id OR task_id = :id"
        " ORDER BY subtask_id = :id DESC, number DESC LIMIT 1",
        {"id": task},
    ).fetchone()
    return replace(target, subtask=row["subtask_id"]) if row else target


def _detail(target: Target, injection: Injection) -> dict[str, object]:
    """The fault with what is its own, and what it hit."""
    about = {"call": target.call, "file": target.name, "part": target.part}
    return {
        "rule": injection.rule.name,
        **injection.rule.own_fields(),
        **{name: value for name, value in about.items() if value},
    }
