"""Everything that must survive a crash: subtasks, attempts, saved state, undelivered reports.

A write that has returned is on disk. Reports hold no secret and no URL.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from plugin_framework.journal.database import Database
from plugin_framework.journal.queue import Queue
from plugin_framework.journal.records import Records
from plugin_framework.journal.timeline import Timeline
from plugin_framework.journal.uploads import UploadLog

Fate = Literal["pending", "delivered", "refused"]


@dataclass(frozen=True, slots=True)
class Report:
    """A status or a result on its way to Datahub: ``body`` is sent to ``path`` as it stands.

    ``outcome`` is what the subtask ended as; only a terminal report has one.
    """

    report_id: int
    subtask_id: str
    status: int
    path: str
    body: bytes
    outcome: dict[str, Any] | None
    fate: Fate


class Journal:
    """The journal file. Safe to use from several threads and processes.

    Raises:
        JournalError: at opening and at every call, when the file cannot be read or written.
    """

    shared: bool = False
    """Whether other machines know what it keeps; see ``lifecycle.supervisor.RunJournal``."""

    def __init__(self, path: Path) -> None:
        self.database: Database = Database(path)
        self._db = self.database
        self.uploads: UploadLog = UploadLog(self._db)
        self.timeline: Timeline = Timeline(self._db)
        self.records: Records = Records(self._db)
        self.queue: Queue = Queue(self._db)

    def close(self) -> None:
        """Close the file; what was written stays."""
        self._db.close()

    def hurry(self, seconds: float) -> None:
        """Wait for others no longer than this from now: whatever uses the journal is to end."""
        self._db.hurry(seconds)

    def is_sound(self) -> bool:
        """Whether the next start will find the file in order.

        Raises:
            JournalError: it cannot be read at all.
        """
        return self._db.is_sound()

    def start_attempt(
        self, subtask_id: str, *, task_id: str | None, plugin: str, config: Mapping[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        """Note another attempt, and return its number (from 1) and the state saved before it."""
        now = time.time()
        with self._db.write() as db:
            db.execute(
                "INSERT INTO subtasks (subtask_id, task_id, plugin, config, created)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " task_id = excluded.task_id, plugin = excluded.plugin, config = excluded.config",
                (subtask_id, task_id, plugin, json.dumps(config), now),
            )
            attempt, state = db.execute(
                "SELECT (SELECT coalesce(max(attempt), 0) + 1 FROM attempts"
                " WHERE subtask_id = s.subtask_id), state FROM subtasks s WHERE subtask_id = ?",
                (subtask_id,),
            ).fetchone()
            db.execute("INSERT INTO attempts VALUES (?, ?, ?)", (subtask_id, attempt, now))
        return attempt, json.loads(state)

    def forget_attempt(self, subtask_id: str, attempt: int, report_id: int = 0) -> None:
        """Undo ``start_attempt`` and the report of it: nothing was run.

        What earlier attempts left to report stays.
        """
        with self._db.write() as db:
            db.execute(
                "DELETE FROM attempts WHERE subtask_id = ? AND attempt = ?", (subtask_id, attempt)
            )
            db.execute("DELETE FROM reports WHERE report_id = ?", (report_id,))
            db.execute(
                "DELETE FROM subtasks WHERE subtask_id = ? AND NOT EXISTS"
                " (SELECT 1 FROM attempts WHERE attempts.subtask_id = subtasks.subtask_id)",
                (subtask_id,),
            )

    def forget(self, subtask_id: str) -> None:
        """Remove all there is of a subtask."""
        with self._db.write() as db:
            db.execute("DELETE FROM subtasks WHERE subtask_id = ?", (subtask_id,))

    def save_state(self, subtask_id: str, state: Mapping[str, Any]) -> None:
        """Keep the state that the next attempt is to start from."""
        with self._db.write() as db:
            db.execute(
                "UPDATE subtasks SET state = ? WHERE subtask_id = ?",
                (json.dumps(state), subtask_id),
            )

    def add_report(
        self,
        subtask_id: str,
        *,
        status: int,
        path: str,
        body: bytes,
        outcome: Mapping[str, Any] | None = None,
    ) -> Report:
        """Append a report to the subtask's queue; on disk when this returns.

        Raises:
            JournalError: also for a second terminal report.
        """
        with self._db.write() as db:
            cursor = db.execute(
                "INSERT INTO reports (subtask_id, status, path, body, outcome, created)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    subtask_id,
                    status,
                    path,
                    body,
                    None if outcome is None else json.dumps(outcome),
                    time.time(),
                ),
            )
        kept = None if outcome is None else dict(outcome)
        return Report(cursor.lastrowid or 0, subtask_id, status, path, body, kept, "pending")

    def settle_report(self, report_id: int, fate: Literal["delivered", "refused"]) -> None:
        """Note that Datahub acknowledged a report, or refused it for good."""
        with self._db.write() as db:
            db.execute(
                "UPDATE reports SET fate = ?, settled = ? WHERE report_id = ?",
                (fate, time.time(), report_id),
            )

    def pending_reports(self, subtask_id: str) -> list[Report]:
        """What is still to be sent for a subtask, in order."""
        return [report for report in self._reports(subtask_id) if report.fate == "pending"]

    def backlog(self) -> tuple[int, float]:
        """How many reports are still to be sent, and the oldest's age in seconds."""
        with self._db.read() as db:
            count, oldest = db.execute(
                "SELECT count(*), min(created) FROM reports WHERE fate = 'pending'"
            ).fetchone()
        return count, max(time.time() - oldest, 0.0) if count else 0.0

    def ending(self, subtask_id: str) -> Report | None:
        """The subtask's terminal report, whatever became of it."""
        reports = self._reports(subtask_id)
        return next((report for report in reports if report.outcome is not None), None)

    def _reports(self, subtask_id: str) -> list[Report]:
        with self._db.read() as db:
            rows = db.execute(
                "SELECT report_id, subtask_id, status, path, body, outcome, fate FROM reports"
                " WHERE subtask_id = ? ORDER BY report_id",
                (subtask_id,),
            ).fetchall()
        return [
            Report(number, subtask, status, path, body, json.loads(kept) if kept else None, fate)
            for number, subtask, status, path, body, kept, fate in rows
        ]
