"""The one ordered writer of a subtask's statuses and result.

Each report is in the journal, byte for byte, before it is first sent, and is sent until Datahub
acknowledges it or refuses it for good. Nothing follows a terminal report. Where the journal takes
nothing, what would be lost otherwise is sent all the same, and journalled as soon as that succeeds.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from plugin_framework.errors import (
    DatahubError,
    FinalError,
    JournalError,
    RejectedError,
    RetryableError,
)
from plugin_framework.journal.journal import Report
from plugin_framework.lifecycle.clock import REAL, Clock
from plugin_framework.lifecycle.patience import persist
from plugin_framework.lifecycle.states import may_follow
from plugin_framework.lifecycle.supervisor import RunJournal
from plugin_framework.protocol.backoff import AskFirst
from plugin_framework.protocol.client import DatahubClient, result_report, status_report
from plugin_framework.protocol.models import TaskStatus

log: logging.Logger = logging.getLogger("datahub.reporter")

Fate = Literal["delivered", "refused"]

UNKEPT = 0
"""The id of a report that is not in the journal."""

_ASKED_FOR = frozenset({TaskStatus.RUNNING, TaskStatus.PAUSED, TaskStatus.CANCELLED})
"""What notify also says where somebody has asked for it, and it was not reported yet."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How delivering ended: everything acknowledged, or what is still in the journal and why.

    ``superseded_by`` is the status that Datahub had given the subtask before ours arrived.
    """

    done: bool
    error: str | None = None
    superseded_by: TaskStatus | None = None


class Reporter:
    """Reports one subtask, from a thread of its own.

    ``before_end`` is called before the terminal report is first sent. ``begun`` is the id of the
    report that began the attempt, and ``sent`` whether Datahub may have that one; ``ending`` is the
    terminal report, once there is one.
    """

    def __init__(
        self,
        client: DatahubClient,
        journal: RunJournal,
        subtask_id: str,
        *,
        task_id: str | None,
        before_end: Callable[[], None] = lambda: None,
        on_status: Callable[[TaskStatus, TaskStatus], None] = lambda _old, _new: None,
        on_tried: Callable[[Report, float, DatahubError | None], None] = lambda *_: None,
        on_delivered: Callable[[Report], None] = lambda _report: None,
        clock: Clock = REAL,
    ) -> None:
        self._clock = clock
        self._client = client
        self._journal = journal
        self._subtask_id = subtask_id
        self._notify_id = task_id or subtask_id
        self._before_end = before_end
        self._on_status = on_status
        self._on_tried = on_tried
        self._on_delivered = on_delivered
        self._changed = threading.Condition()
        self._pending: list[Report] = []
        self._unnoted: list[tuple[int, Fate]] = []
        self._inherited: frozenset[int] = frozenset()
        self._delivery = Delivery(done=True)
        self._problem = "Datahub has not answered"
        self._settled_at = -math.inf
        self._give_up_at = math.inf
        self._closed = threading.Event()
        self._beginning: float | None = None
        self._failure: Exception | None = None
        self.begun: int = UNKEPT
        self.sent: bool = False
        self.status: TaskStatus = TaskStatus.INITIAL
        self.ending: Report | None = None

    def begin(self, patience: float) -> None:
        """Report status 1 and wait until Datahub has it; then start the thread.

        What an attempt before this one left unsent goes first. Where ``hurry`` is called once
        status 1 may have arrived, the answer is not waited for.

        Raises:
            RetryableError, FinalError: Datahub could not be told.
        """
        path, body = status_report(self._subtask_id, TaskStatus.RUNNING)
        running = self._journal.add_report(
            self._subtask_id, status=TaskStatus.RUNNING, path=path, body=body
        )
        self.begun, self._beginning = running.report_id, patience
        try:
            self.start()
            with self._changed:
                self._changed.wait_for(self._has_begun)
                self._beginning, failure = None, self._failure
                if failure is None:
                    self._move(TaskStatus.RUNNING)
        except BaseException:  # a signal, too
            self.close()
            raise
        if failure is not None:
            raise failure

    def _has_begun(self) -> bool:
        """Whether there is no more to wait for."""
        if self._failure is not None or not self._pending:
            return True
        return self.sent and self._give_up_at < math.inf

    def call_off(self) -> bool:
        """Send nothing, if Datahub cannot have status 1; whether that is so."""
        with self._changed:
            if not self.sent:
                self.close()
            return not self.sent

    def start(self) -> None:
        """Start delivering what the journal holds and what is reported from now on."""
        with self._changed:
            self._load()
        threading.Thread(target=self._run, daemon=True, name=f"report-{self._subtask_id}").start()

    def report(self, status: TaskStatus) -> bool:
        """Queue a status that does not end the subtask; False if it may not follow."""
        with self._changed:
            if status.is_final or not may_follow(self.status, status):
                return False
            report = self._report(status, None, None)
            try:
                report = self._journalled(report)
            except JournalError as error:
                # Hours of work are worth more than the record of a pause.
                log.warning(
                    "subtask %s: status %d is not kept: %s", self._subtask_id, status, error
                )
            self._enqueue(report)
            return True

    def end(
        self,
        status: TaskStatus,
        result: Mapping[str, Any] | None,
        outcome: Mapping[str, Any],
        *,
        kept: bool = True,
    ) -> bool:
        """Journal and queue the terminal report; False if the subtask has ended already.

        Not ``kept``, it is queued without, as the last resort: ``keep`` is for later.

        Raises:
            JournalError: it cannot be journalled, and nothing was queued.
        """
        with self._changed:
            if not may_follow(self.status, status):
                return False
            report = self._report(status, result, outcome)
            self.ending = self._journalled(report) if kept else report
            self._enqueue(self.ending)
            return True

    def keep(self) -> bool:
        """Journal what could not be before; False if it still cannot."""
        with self._changed:
            ending = self.ending
            if ending is None or ending.report_id != UNKEPT:
                self._note_fates()
                return True
            try:
                self.ending = kept = self._journalled(ending)
            except JournalError:
                return False
            log.warning("subtask %s: how it ended is journalled now", self._subtask_id)
            if ending in self._pending:
                self._pending[self._pending.index(ending)] = kept
            elif self._delivery.done:
                self._unnoted.append((kept.report_id, "delivered"))
            self._note_fates()
            return True

    def conclude(self, delivery: Delivery) -> tuple[Delivery, bool]:
        """How delivering ended, and whether the journal has what Datahub does not.

        ``delivery`` is what ``wait`` said: what was still on its way may have arrived since.
        Said loudly where something is lost.
        """
        kept = self.keep() and self._keep_status()
        if not delivery.done:
            delivery = self.wait(0)
        if delivery.done or delivery.superseded_by is not None:
            return delivery, kept
        try:
            kept = kept and self._journal.is_sound()
        except JournalError:
            kept = False
        if not kept:
            log.critical(
                "subtask %s: %s could be neither kept nor delivered, and is %s",
                self._subtask_id,
                "how it ended" if self.ending else f"that it is {self.status.name.lower()}",
                "to be found out again" if self._journal.shared else "LOST but for what is printed",
            )
        return delivery, kept

    def _keep_status(self) -> bool:
        """Journal the last status on its way, if it is not yet; False if that cannot be."""
        with self._changed:
            try:
                if self._pending and self._pending[-1].report_id == UNKEPT:
                    self._pending[-1] = self._journalled(self._pending[-1])
            except JournalError:
                return False
            return True

    def settled_since(self, moment: float) -> bool:
        """Whether nothing was on its way to Datahub since that moment of the monotonic clock."""
        with self._changed:
            return not self._pending and self._settled_at < moment

    def wait(self, timeout: float) -> Delivery:
        """Wait until everything is delivered or refused, at most ``timeout`` seconds."""
        self.hurry(timeout)
        with self._changed:
            while self._is_waited_for(until := self._give_up_at) and until > self._clock.now():
                # Asked again, for a wait that times out as it is notified says that it was not.
                self._clock.wait(partial(self._is_over, until), until)
            return Delivery(done=False, error=self._problem) if self._pending else self._delivery

    def _is_over(self, until: float, seconds: float) -> bool:
        """Whether the wait until that moment is over after so many seconds."""
        return self._changed.wait_for(lambda: not self._is_waited_for(until), seconds)

    def _is_waited_for(self, until: float) -> bool:
        return bool(self._pending) and not self._closed.is_set() and self._give_up_at == until

    def hurry(self, seconds: float) -> None:
        """Let ``wait`` take no longer than this from now."""
        with self._changed:
            self._give_up_at = min(self._give_up_at, self._clock.now() + seconds)
            self._changed.notify_all()

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way to Datahub, or will be sent any more."""
        with self._changed:
            return not self._pending or self._closed.is_set()

    def close(self, failure: Exception | None = None) -> None:
        """Stop delivering; what is not delivered stays in the journal.

        ``begin`` raises the ``failure`` if it has not returned yet, or is yet to be called.
        """
        with self._changed:
            self._failure = self._failure or failure
            self._closed.set()
            self._changed.notify_all()

    def final_status(self) -> TaskStatus | None:
        """What Datahub has the subtask ended as, if it has and can be asked."""
        actual = self._actual_status()
        return actual if actual is not None and actual.is_final else None

    def _load(self) -> None:
        self._pending = self._journal.pending_reports(self._subtask_id)
        self._inherited = frozenset(report.report_id for report in self._pending)

    def _report(
        self,
        status: TaskStatus,
        result: Mapping[str, Any] | None,
        outcome: Mapping[str, Any] | None,
    ) -> Report:
        if result is not None and status is TaskStatus.COMPLETED:
            path, body = result_report(self._subtask_id, result)
        else:
            path, body = status_report(self._subtask_id, status)
        kept = None if outcome is None else dict(outcome)
        return Report(UNKEPT, self._subtask_id, status, path, body, kept, "pending")

    def _journalled(self, report: Report) -> Report:
        return self._journal.add_report(
            self._subtask_id,
            status=report.status,
            path=report.path,
            body=report.body,
            outcome=report.outcome,
        )

    def _enqueue(self, report: Report) -> None:
        self._pending.append(report)
        self._move(TaskStatus(report.status))
        self._changed.notify_all()

    def _move(self, status: TaskStatus) -> None:
        old, self.status = self.status, status
        self._on_status(old, status)

    def _run(self) -> None:
        while (report := self._next()) is not None:
            patience = math.inf if self._beginning is None else self._beginning
            try:
                if report.outcome is not None:
                    self._before_end()
                self._deliver(report, patience)
            except Exception as error:
                if self._closed.is_set():  # the client may be closed under a call by now
                    return
                hurried = self._beginning is None and patience < math.inf
                if hurried and isinstance(error, RetryableError):
                    continue  # nobody waits for the beginning any more, but for the end
                self._failure, self._problem = error, str(error)
                self.close()
                if not isinstance(error, DatahubError):
                    raise
                if self._beginning is None:  # else it is raised where that is waited for
                    log.warning("report of subtask %s: %s", self._subtask_id, error)

    def _next(self) -> Report | None:
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closed.is_set())
            return None if self._closed.is_set() else self._pending[0]

    def _deliver(self, report: Report, patience: float) -> None:
        fate: Fate = "delivered"
        delivery = Delivery(done=True)
        try:
            report = self._send(report, patience)
        except RejectedError as error:
            if self._beginning is not None and report.report_id == self.begun:
                raise
            actual = self._actual_status()
            if actual != report.status:
                fate = "refused"
                superseded_by = actual if actual and actual.is_final else None
                delivery = Delivery(done=False, error=str(error), superseded_by=superseded_by)
        self._settle(report, fate)
        with self._changed:
            self._delivery = delivery
            self._pending.pop(0)
            self._settled_at = time.monotonic()
            self._changed.notify_all()

    def _send(self, report: Report, patience: float) -> Report:
        """Send a report; returns what was sent: where it was kept late, another may have stood."""
        begins = report.report_id == self.begun != UNKEPT
        refused = False

        def post() -> None:
            nonlocal report, refused
            before = self.sent
            with self._changed:
                if self._closed.is_set():
                    raise RetryableError("called off")
                self.sent = before or begins
                report = self._pending[0]
            at = time.time()
            try:
                self._client.post(report.path, report.body, patience=0, deadline=patience)
            except DatahubError as error:
                self._on_tried(report, at, error)
                self._problem = str(error)
                refused = isinstance(error, RejectedError)
                if self._beginning is not None:
                    unknown = isinstance(error, RetryableError) and error.unknown_outcome
                    self.sent = (before and not refused) or (begins and unknown)
                raise
            self._on_tried(report, at, None)

        # A run before this one may have sent it: what became of that died with it.
        in_doubt = report.report_id in self._inherited and report.outcome is not None
        attempt = AskFirst(post, lambda: self._applied(report, refused=refused), in_doubt=in_doubt)
        persist(attempt, patience, self._rest, self._clock)
        self.sent = self.sent or begins  # the repeat may have been refused
        return report

    def _rest(self, seconds: float) -> bool:
        """Between two tries: there may be room in the journal by now."""
        self.keep()
        return self._clock.wait(self._closed.wait, self._clock.now() + seconds)

    def _applied(self, report: Report, *, refused: bool) -> bool:
        """Whether Datahub has what the report says; asked where its answer was lost.

        Not where notify may say so anyway, unless a repeat was refused: else it does no harm.
        """
        if report.status in _ASKED_FOR and not refused:
            return False
        try:
            return self._client.notify(self._notify_id, patience=0) == report.status
        except FinalError:
            return False

    def _settle(self, report: Report, fate: Fate) -> None:
        with self._changed:
            # The journal may have taken it while it was sent.
            kept = self._pending[0] if report.report_id == UNKEPT else report
            if kept.report_id != UNKEPT:
                self._unnoted.append((kept.report_id, fate))
            self._note_fates()
        if fate == "delivered":
            self._on_delivered(report)

    def _note_fates(self) -> None:
        """Have the journal know what became of reports, in order, if it can."""
        try:
            while self._unnoted:
                report_id, fate = self._unnoted[0]
                self._journal.settle_report(report_id, fate)
                self._unnoted.pop(0)
        except JournalError as error:
            # It is repeated at the next start, byte for byte.
            log.warning("subtask %s: what is delivered is not noted: %s", self._subtask_id, error)

    def _actual_status(self) -> TaskStatus | None:
        try:
            return self._client.notify(self._notify_id, patience=0)
        except DatahubError:
            return None
