"""The one ordered writer of a subtask's statuses and result.

Each report is in the journal, byte for byte, before it is first sent, and is sent until Datahub
acknowledges it or refuses it for good. Nothing follows a terminal report.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from plugin_framework.errors import DatahubError, FinalError, RejectedError, RetryableError
from plugin_framework.journal.journal import Journal, Report
from plugin_framework.lifecycle.states import may_follow
from plugin_framework.protocol.client import DatahubClient, result_report, status_report
from plugin_framework.protocol.models import TaskStatus

log = logging.getLogger("datahub.reporter")


@dataclass(frozen=True, slots=True)
class Delivery:
    """How delivering ended: everything acknowledged, or what is still in the journal and why.

    ``superseded_by`` is the status that Datahub had given the subtask before ours arrived.
    """

    done: bool
    error: str | None = None
    superseded_by: TaskStatus | None = None


class Reporter:
    """Reports one subtask, from a thread of its own."""

    def __init__(
        self,
        client: DatahubClient,
        journal: Journal,
        subtask_id: str,
        *,
        task_id: str | None,
        patience: float,
        on_status: Callable[[TaskStatus, TaskStatus], None] = lambda _old, _new: None,
        on_delivered: Callable[[Report], None] = lambda _report: None,
    ) -> None:
        self._client = client
        self._journal = journal
        self._subtask_id = subtask_id
        self._notify_id = task_id or subtask_id
        self._patience = patience
        self._on_status = on_status
        self._on_delivered = on_delivered
        self._changed = threading.Condition()
        self._pending: list[Report] = []
        self._delivery = Delivery(done=True)
        self._settled_at = -math.inf
        self._closed = False
        self.status = TaskStatus.INITIAL

    def begin(self, patience: float) -> None:
        """Report status 1 and wait until Datahub has it; then start the thread.

        Raises:
            RetryableError, FinalError: Datahub could not be told. Nothing is left to deliver.
        """
        path, body = status_report(self._subtask_id, TaskStatus.RUNNING)
        report = self._journal.add_report(
            self._subtask_id, status=TaskStatus.RUNNING, path=path, body=body
        )
        self._send(report, patience)
        self._settle(report, "delivered")
        self._move(TaskStatus.RUNNING)
        self.start()

    def start(self) -> None:
        """Start delivering what the journal holds and what is reported from now on."""
        with self._changed:
            self._pending = self._journal.pending_reports(self._subtask_id)
        threading.Thread(target=self._run, daemon=True, name=f"report-{self._subtask_id}").start()

    def report(self, status: TaskStatus) -> bool:
        """Queue a status that does not end the subtask; False if it may not follow."""
        with self._changed:
            if not may_follow(self.status, status):
                return False
            path, body = status_report(self._subtask_id, status)
            self._enqueue(status, path, body, None)
            return True

    def end(
        self, status: TaskStatus, result: Mapping[str, Any] | None, outcome: Mapping[str, Any]
    ) -> bool:
        """Journal and queue the terminal report; False if the subtask has ended already."""
        with self._changed:
            if not may_follow(self.status, status):
                return False
            if result is not None and status is TaskStatus.COMPLETED:
                path, body = result_report(self._subtask_id, result)
            else:
                path, body = status_report(self._subtask_id, status)
            self._enqueue(status, path, body, outcome)
            return True

    def settled_since(self, moment: float) -> bool:
        """Whether nothing was on its way to Datahub since that moment of the monotonic clock."""
        with self._changed:
            return not self._pending and self._settled_at < moment

    def wait(self, timeout: float) -> Delivery:
        """Wait, at most ``timeout`` seconds, until everything is delivered or refused."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._pending, timeout)
            if self._pending:
                reason = self._delivery.error or "Datahub has not answered"
                return Delivery(done=False, error=reason)
            return self._delivery

    def close(self) -> None:
        """Stop delivering; what is not delivered stays in the journal."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _enqueue(
        self, status: TaskStatus, path: str, body: bytes, outcome: Mapping[str, Any] | None
    ) -> None:
        report = self._journal.add_report(
            self._subtask_id, status=status, path=path, body=body, outcome=outcome
        )
        self._pending.append(report)
        self._move(status)
        self._changed.notify_all()

    def _move(self, status: TaskStatus) -> None:
        old, self.status = self.status, status
        self._on_status(old, status)

    def _run(self) -> None:
        while (report := self._next()) is not None:
            try:
                self._deliver(report)
            except DatahubError as error:
                log.warning("report of subtask %s: %s", self._subtask_id, error)
                self._give_up(str(error))

    def _next(self) -> Report | None:
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closed)
            return None if self._closed else self._pending[0]

    def _deliver(self, report: Report) -> None:
        fate: Literal["delivered", "refused"] = "delivered"
        delivery = Delivery(done=True)
        try:
            self._send(report, self._patience)
        except RejectedError as error:
            actual = self._actual_status()
            if actual != report.status:
                fate = "refused"
                superseded_by = actual if actual and actual.is_final else None
                delivery = Delivery(done=False, error=str(error), superseded_by=superseded_by)
        self._settle(report, fate)
        with self._changed:
            self._delivery = delivery
            self._pending.remove(report)
            self._settled_at = time.monotonic()
            self._changed.notify_all()

    def _send(self, report: Report, patience: float) -> None:
        self._client.post(
            report.path,
            report.body,
            patience=patience,
            applied=lambda: self._client.notify(self._notify_id, patience=0) == report.status,
        )

    def _settle(self, report: Report, fate: Literal["delivered", "refused"]) -> None:
        self._journal.settle_report(report.report_id, fate)
        if fate == "delivered":
            self._on_delivered(report)

    def _actual_status(self) -> TaskStatus | None:
        """What Datahub has the subtask as, after it refused a report."""
        try:
            return self._client.notify(self._notify_id, patience=0)
        except (RetryableError, FinalError):
            return None

    def _give_up(self, error: str) -> None:
        with self._changed:
            self._delivery = Delivery(done=False, error=error)
            self._closed = True
            self._changed.notify_all()
