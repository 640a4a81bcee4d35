"""What has yet to be sent to services: each call is kept until it is answered."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, Final

from plugin_framework.emulator.database import Database
from plugin_framework.emulator.platform.answers import Outcome, Verdict
from plugin_framework.emulator.reports import accept
from plugin_framework.emulator.rules import Refused
from plugin_framework.emulator.subtasks import record
from plugin_framework.protocol.models import TaskStatus

_MOST: Final = 1000
_WAITING: Final = "subtask_id = ? AND dispatch = 'waiting'"


@dataclass(frozen=True, slots=True)
class Order:
    """A create_task to send; ``sent``: it may have arrived before."""

    subtask_id: str
    plugin: str
    body: bytes
    sent: bool


@dataclass(frozen=True, slots=True)
class Word:
    """A manage_task to send."""

    subtask_id: str
    status: TaskStatus

    @property
    def body(self) -> bytes:
        """PROTOCOL.md, 2.3."""
        return _json({"subtask_id": self.subtask_id, "status": int(self.status)})


class Outbox:
    """A view of the subtasks. What changes one checks in the same transaction that it still may."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def plugins_to_create(self) -> set[str]:
        """The plugins that subtasks wait for."""
        return self._plugins("dispatch = 'waiting'")

    def plugins_to_tell(self) -> set[str]:
        """The plugins that have not been told all that was asked of them."""
        return self._plugins("tell IS NOT NULL")

    def _plugins(self, condition: str) -> set[str]:
        query = f"SELECT DISTINCT plugin FROM subtasks WHERE plugin NOT NULL AND {condition}"  # noqa: S608 - the two above
        with self._database.reading() as sql:
            return {row["plugin"] for row in sql.execute(query)}

    def next_order(self, plugin: str) -> Order | None:
        """The plugin's subtask that has waited longest."""
        with self._database.reading() as sql:
            row = sql.execute(
                "SELECT subtask_id, task_id, config, sent FROM subtasks"
                " WHERE dispatch = 'waiting' AND plugin = ? ORDER BY number LIMIT 1",
                (plugin,),
            ).fetchone()
        if row is None:
            return None
        given = {"subtask_id": row["subtask_id"], "config": json.loads(row["config"])}
        if row["task_id"] is not None:
            given["task_id"] = row["task_id"]
        return Order(row["subtask_id"], plugin, _json(given), bool(row["sent"]))

    def begin(self, order: Order) -> bool:
        """Note that the call goes out now; False if the subtask does not wait any more.

        It is on disk before the call is sent: after a crash the next one counts as a repeat.
        """
        with self._database.transaction() as sql:
            query = f"UPDATE subtasks SET sent = 1 WHERE {_WAITING}"  # noqa: S608 - our own words
            return sql.execute(query, (order.subtask_id,)).rowcount == 1

    def settle(self, order: Order, outcome: Outcome) -> None:
        """Note what came of a create_task. A plugin that has begun, or a cancel, has come first."""
        with self._database.transaction() as sql:
            query = f"SELECT reason FROM subtasks WHERE {_WAITING}"  # noqa: S608 - our own words
            row = sql.execute(query, (order.subtask_id,)).fetchone()
            if not (outcome.arrived or order.sent):
                sql.execute(
                    "UPDATE subtasks SET sent = 0, tell = IIF(status = 4, NULL, tell)"
                    " WHERE subtask_id = ?",
                    (order.subtask_id,),
                )
            if row is None:
                return
            if outcome.verdict is Verdict.ACCEPTED:
                accept(sql, order.subtask_id)
                return
            if outcome.verdict is Verdict.REFUSED:
                sql.execute(
                    "UPDATE subtasks SET status = 5, ended_at = ?, dispatch = 'refused',"
                    " requested = NULL, tell = NULL, reason = ? WHERE subtask_id = ?",
                    (time.time(), outcome.message, order.subtask_id),
                )
            elif row["reason"] == outcome.message:
                return
            else:
                sql.execute(
                    "UPDATE subtasks SET reason = ? WHERE subtask_id = ?",
                    (outcome.message, order.subtask_id),
                )
            state = "refused" if outcome.verdict is Verdict.REFUSED else "waiting"
            _record(sql, order.subtask_id, {"state": state}, outcome)

    def words(self, plugin: str) -> list[Word]:
        """What the plugin has yet to be told, of subtasks that it may know, oldest first."""
        with self._database.reading() as sql:
            rows = sql.execute(
                "SELECT subtask_id, tell FROM subtasks WHERE tell IS NOT NULL AND plugin = ?"
                " AND dispatch <> 'waiting' ORDER BY number LIMIT ?",
                (plugin, _MOST),
            ).fetchall()
        return [Word(row["subtask_id"], TaskStatus(row["tell"])) for row in rows]

    def told(self, word: Word, outcome: Outcome) -> None:
        """Note what came of a manage_task; if something else is asked by now, that is yet to go."""
        with self._database.transaction() as sql:
            if outcome.verdict is not Verdict.AGAIN:
                sql.execute(
                    "UPDATE subtasks SET tell = NULL WHERE subtask_id = ? AND tell = ?",
                    (word.subtask_id, int(word.status)),
                )
            state = "waiting" if outcome.verdict is Verdict.AGAIN else outcome.verdict.value
            detail = {"state": state, "status": int(word.status)}
            _record(sql, word.subtask_id, detail, outcome)


def _record(sql: Any, subtask_id: str, detail: dict[str, Any], outcome: Outcome) -> None:
    refused = None
    if outcome.verdict is not Verdict.ACCEPTED:
        refused = Refused(outcome.message, outcome.code or 1)
    record(sql, subtask_id, "dispatch", detail, refused)


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode()
