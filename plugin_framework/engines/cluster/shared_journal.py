# ruff: noqa: ARG002 - of one subtask; a machine's journal is of all
"""What one attempt keeps of its subtask, where the attempts after it find it: in the shared store.

Nothing of it is in the journal of its machine. So nothing there could be sent by anybody once
another machine has the subtask; and reports other than the ending live as long as their attempt,
for the next one begins by reporting that it runs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from plugin_framework.engines.cluster.holding import Gate
from plugin_framework.engines.cluster.records import Ending, Kept
from plugin_framework.engines.cluster.saved_state import SavedState
from plugin_framework.engines.cluster.sealed import Seal
from plugin_framework.engines.cluster.shared_uploads import SharedUploads
from plugin_framework.engines.cluster.store import LeaseStore
from plugin_framework.engines.cluster.writes import Writes
from plugin_framework.journal.journal import Report
from plugin_framework.journal.timeline import cleaned

log: logging.Logger = logging.getLogger("datahub.runner")


class LoggedNotes:
    """What happened to an attempt, in the log: the service's journal has the course of it."""

    def note(self, subtask_id: str, kind: str, **detail: Any) -> None:
        """See ``journal.timeline.Timeline``."""
        log.debug("subtask %s: %s %s", subtask_id, kind, cleaned(detail) or "")

    def count(self, subtask_id: str, kind: str) -> None:
        """See ``journal.timeline.Timeline``; not worth a line."""


class SharedJournal:
    """One attempt's ``lifecycle.supervisor.RunJournal``.

    ``kept`` is what the attempts before it left; ``patience`` is in seconds, for writes that work
    waits for. ``settled`` is set once the store knows what Datahub made of the ending.
    """

    shared: bool = True

    def __init__(
        self, store: LeaseStore, gate: Gate, *, kept: Kept, seal: Seal, patience: float
    ) -> None:
        writes = Writes(gate, patience)
        self.settled: threading.Event = threading.Event()
        self.timeline: LoggedNotes = LoggedNotes()
        self.saved: SavedState = SavedState(store, gate.lease, writes, kept)
        self.uploads: SharedUploads = SharedUploads(store, gate.lease, writes, seal, kept)
        self._writes = writes
        self._store = store
        self._lease = gate.lease
        self._lock = threading.Lock()
        self._reports: dict[int, Report] = {}

    def start_attempt(
        self, subtask_id: str, *, task_id: str | None, plugin: str, config: Mapping[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        """The lease's number, and the state that was saved before it, wherever that was.

        Raises:
            JournalError: the store does not take it that the attempt begins.
        """
        self._writes.once(lambda: self._store.set_begun(self._lease, begun=True))
        return self._lease.number, self.saved.state

    def forget_attempt(self, subtask_id: str, attempt: int, report_id: int = 0) -> None:
        """Forget that it runs; its number is used up."""
        with self._lock:
            self._reports.pop(report_id, None)

    def forget(self, subtask_id: str) -> None:
        """A subtask that is created anew is begun anew by the service."""

    def save_state(self, subtask_id: str, state: Mapping[str, Any]) -> None:
        """Keep the state that the next attempt is to start from, on whatever machine."""
        self.saved.save(state)

    def add_report(
        self,
        subtask_id: str,
        *,
        status: int,
        path: str,
        body: bytes,
        outcome: Mapping[str, Any] | None = None,
    ) -> Report:
        """Keep a report; an ending is in the store when this returns.

        Where one is there already, that is what is returned, and to be sent.

        Raises:
            JournalError: the store does not take it, or another attempt has the lease.
        """
        if outcome is None:
            return self._add(Report(0, subtask_id, status, path, body, None, "pending"))
        ending = Ending(status, path, body, outcome)
        return self.adopt(self._writes.once(lambda: self._store.end(self._lease, ending)))

    def adopt(self, ending: Ending) -> Report:
        """Have the ending that is in the store delivered."""
        kept = dict(ending.outcome)
        subtask_id = self._lease.subtask_id
        return self._add(
            Report(0, subtask_id, ending.status, ending.path, ending.body, kept, "pending")
        )

    def settle_report(self, report_id: int, fate: Literal["delivered", "refused"]) -> None:
        """Note what Datahub made of a report."""
        with self._lock:
            report = self._reports[report_id]
        if report.outcome is not None:
            self._writes.once(lambda: self._store.settle(self._lease.subtask_id, fate))
            self.settled.set()
        with self._lock:
            self._reports[report_id] = replace(report, fate=fate)

    def pending_reports(self, subtask_id: str) -> list[Report]:
        """What is still to be sent, in order."""
        with self._lock:
            return [report for report in self._reports.values() if report.fate == "pending"]

    def ending(self, subtask_id: str) -> Report | None:
        """The terminal report."""
        with self._lock:
            return next((each for each in self._reports.values() if each.outcome is not None), None)

    def is_kept(self, path: str, body: bytes) -> bool:
        """Whether the store has this as the subtask's ending."""
        ending = self.ending(self._lease.subtask_id)
        return ending is not None and (ending.path, ending.body) == (path, body)

    def is_sound(self) -> bool:
        """The store answers for what it has taken."""
        return True

    def hurry(self, seconds: float) -> None:
        """Wait for the store no longer than this from now."""
        self._writes.hurry(seconds)

    def _add(self, report: Report) -> Report:
        with self._lock:
            kept = replace(report, report_id=len(self._reports) + 1)
            self._reports[kept.report_id] = kept
        return kept
