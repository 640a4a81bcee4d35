"""What a plugin reports: status, heartbeat, result (PROTOCOL.md, 1.5 to 1.7)."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time

from plugin_framework.emulator.database import Database
from plugin_framework.emulator.logs import explain
from plugin_framework.emulator.rules import (
    BAD_REQUEST,
    Refused,
    check_active,
    check_transition,
)
from plugin_framework.emulator.subtasks import (
    HEARTBEATS_KEPT_OF_ENDED,
    Subtask,
    find,
    open_status,
    record,
    recorded,
    thin,
)
from plugin_framework.protocol.models import Heartbeat, ResultReport, StatusUpdate, TaskStatus
from plugin_framework.protocol.signing import VALIDITY_SECONDS


class Reports:
    """Takes reports. ``body`` is the request's, to tell a repeat from another report."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def update_status(self, update: StatusUpdate, body: bytes) -> None:
        """Take a status; the operator's request is met if it asked for this one.

        Raises:
            Refused: unknown subtask, illegal change, or already completed by another report.
        """
        digest = _digest("status", body)
        detail = {"status": int(update.status)}
        with recorded(self._database, update.subtask_id, "status", detail) as sql:
            subtask = find(sql, update.subtask_id)
            if _is_repeat(subtask, digest):
                return
            check_transition(subtask.status, update.status)
            _set_status(sql, subtask, update.status, digest)

    def heartbeat(self, beat: Heartbeat) -> None:
        """Take a heartbeat, of a running or paused subtask.

        Raises:
            Refused: unknown or not running; with code 400 where its clock is off.
        """
        if abs(time.time() - beat.timestamp) > VALIDITY_SECONDS:
            raise Refused(f"timestamp is off by more than {VALIDITY_SECONDS} s", BAD_REQUEST)
        detail = {"timestamp": beat.timestamp, "process": beat.process}
        with recorded(self._database, beat.subtask_id, "heartbeat", detail) as sql:
            check_active(open_status(sql, beat.subtask_id))
            sql.execute(
                "UPDATE subtasks SET progress = ?, heartbeat_at = ? WHERE subtask_id = ?",
                (beat.process, time.time(), beat.subtask_id),
            )

    def result(self, report: ResultReport, body: bytes) -> None:
        """Take the result, which completes the subtask.

        Raises:
            Refused: unknown, never started, or already completed by another report.
        """
        digest = _digest("result", body)
        with recorded(self._database, report.subtask_id, "result", report.result) as sql:
            subtask = find(sql, report.subtask_id)
            if _is_repeat(subtask, digest):
                return
            check_active(subtask.status)
            sql.execute(
                "UPDATE subtasks SET result = ?, progress = 100 WHERE subtask_id = ?",
                (json.dumps(report.result), report.subtask_id),
            )
            _set_status(sql, subtask, TaskStatus.COMPLETED, digest)


def _digest(kind: str, body: bytes) -> str:
    return hashlib.sha256(kind.encode() + b"\n" + body).hexdigest()


def _is_repeat(subtask: Subtask, digest: str) -> bool:
    if not subtask.status.is_final:
        return False
    if subtask.final_report != digest:
        raise Refused(f"already completed (status {subtask.status:d})")
    return True


def _set_status(sql: sqlite3.Connection, subtask: Subtask, status: TaskStatus, digest: str) -> None:
    now = time.time()
    met = status.is_final or subtask.requested == status
    # Who starts again says 1 too, and then holds what it was to hold, until told to resume it.
    confirmed = status is TaskStatus.PAUSED
    sql.execute(
        "UPDATE subtasks SET status = :status, requested = :requested, final_report = :report,"
        " tell = IIF(:ended OR :confirmed AND tell = :status, NULL, tell),"
        " seen_at = :now, lost_at = NULL,"
        " started_at = IIF(:status = 1, COALESCE(started_at, :now), started_at),"
        " ended_at = IIF(:ended, :now, NULL) WHERE subtask_id = :subtask_id",
        {
            "status": int(status),
            "requested": None if met else subtask.requested,
            "report": digest if status.is_final else None,
            "ended": status.is_final,
            "confirmed": confirmed,
            "now": now,
            "subtask_id": subtask.subtask_id,
        },
    )
    if subtask.dispatch == "waiting":
        accept(sql, subtask.subtask_id)
    if status is TaskStatus.FAILED:
        explain(sql, subtask.subtask_id)
    if status.is_final:
        thin(sql, subtask.subtask_id, HEARTBEATS_KEPT_OF_ENDED)


def accept(sql: sqlite3.Connection, subtask_id: str) -> None:
    """The service has the subtask: it said so, or the plugin has begun."""
    sql.execute(
        "UPDATE subtasks SET dispatch = 'accepted', reason = NULL WHERE subtask_id = ?",
        (subtask_id,),
    )
    record(sql, subtask_id, "dispatch", {"state": "accepted"})
