"""Drives one subtask from status 1 to its terminal report."""

from __future__ import annotations

import logging
import math
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from plugin_framework.errors import (
    Code,
    DatahubError,
    JournalError,
    LeaseLostError,
    Problem,
    TaskCancelled,
)
from plugin_framework.isolation.session import Ending, Verdict
from plugin_framework.journal.journal import Report
from plugin_framework.lifecycle.again import is_created_anew, settled_outcome
from plugin_framework.lifecycle.chronicle import Chronicle
from plugin_framework.lifecycle.clock import Clock
from plugin_framework.lifecycle.control import Control
from plugin_framework.lifecycle.decision import Decision
from plugin_framework.lifecycle.folders import (
    percent_file_of,
    remove_work_dir,
    subtask_lock,
    work_dir_of,
)
from plugin_framework.lifecycle.host import SupervisorHost, line_of
from plugin_framework.lifecycle.outcome import TaskOutcome, outcome_of
from plugin_framework.lifecycle.reporter import Delivery, Reporter
from plugin_framework.lifecycle.stop import Stop
from plugin_framework.lifecycle.supervisor import Isolation, Supervisor, Task, time_limit
from plugin_framework.lifecycle.watch import AT_ONCE_SECONDS, TERM_TO_KILL_SECONDS, Watch
from plugin_framework.plugin.context import TaskFacts
from plugin_framework.protocol.models import TaskStatus

log: logging.Logger = logging.getLogger("datahub.runner")

LAST_CALL_SECONDS = 0.5
"""What is left for the last report when a signal has used up the grace period."""


class Run:
    """One run of one subtask. ``execute`` blocks; the other methods are for other threads."""

    def __init__(self, supervisor: Supervisor, isolation: Isolation, task: Task) -> None:
        self._sup = supervisor
        self._isolation = isolation
        self._task = task
        self._settings = supervisor.settings
        self._lock = threading.RLock()  # a signal may come in a thread that has it
        self.stopped: threading.Event = threading.Event()
        self.clock: Clock = supervisor.clock
        self.patience: float = self._settings.delivery_deadline
        self._delivering = False
        self.pausing: bool = False
        self._attempt, self._told_percent = 0, -1
        self._work_dir = work_dir_of(self._settings.state_dir, task.folder_id)
        timeline = supervisor.journal.timeline
        self._chronicle = Chronicle(task.subtask_id, timeline, supervisor.observer)
        percents = percent_file_of(self._settings.state_dir, task.folder_id)
        self._highest = supervisor.highest(percents)
        self._watch = Watch(
            stall=self._settings.stall_seconds,
            on_stall=self._chronicle.stalled,
            on_move=self._chronicle.moved,
            clock=supervisor.clock,
        )
        self._host = SupervisorHost(
            task.subtask_id,
            owner=self,
            client=supervisor.client,
            journal=supervisor.journal,
            engine=supervisor.engine,
            settings=self._settings.transfer,
            work_dir=self._work_dir,
            chronicle=self._chronicle,
        )
        self._reporter = Reporter(
            supervisor.client,
            supervisor.journal,
            task.subtask_id,
            task_id=task.task_id,
            before_end=lambda: self._control.stop(wait=True),
            on_status=self._chronicle.status_changed,
            on_tried=self._chronicle.tried,
            on_delivered=self._chronicle.delivered,
            clock=supervisor.clock,
        )
        self._control = Control(self, task, supervisor.client, self._reporter, self._chronicle)
        self._decision = Decision(
            task.subtask_id,
            settings=self._settings,
            reporter=self._reporter,
            watch=self._watch,
            stopped=self.stopped,
            outcome_of=self._outcome_of,
            make_room=self._remove_work_dir,
            be_silent=lambda: self._control.stop(wait=False),
            shared=supervisor.journal.shared,
        )

    # Driving

    def execute(self) -> TaskOutcome:
        """Run the subtask to its end.

        Raises:
            RetryableError, FinalError: Datahub could not be told of the start; nothing was run.
            TaskLockedError: the subtask is running on this machine already.
            JournalError: the journal cannot be used; nothing was run.
            ConfigurationError: the plugin or its config is not usable.
            LeaseLostError: another node has taken it over; no ending was reported.
        """
        self._isolation.check(self._task.config)
        with subtask_lock(self._settings.state_dir, self._task.folder_id) as killed_here:
            try:
                ending = self._sup.journal.ending(self._task.subtask_id)
                if ending is not None:
                    if not is_created_anew(self._sup, self._task, ending):
                        return self._deliver_again(ending)
                    self._remove_work_dir()
                was_killed = killed_here or self._task.taken_over
                if was_killed:
                    self._chronicle.note("interrupted")
                facts = self._begin()
                if was_killed and self._attempt > 1 and self._settings.on_interrupted == "fail":
                    self._decision.decide(
                        TaskStatus.FAILED, "an attempt before this one was killed", None
                    )
                elif self._decision.shutting_down and (self._decision.reason or self.paused_for):
                    self._watch.forced = True  # by a signal, while Datahub was told of the start
                    self._settle_death("stopped at its start")
                else:
                    self._work(facts)
                return self._conclude()
            except LeaseLostError:
                self._remove_work_dir()  # it fits what is saved elsewhere no more
                raise
            finally:
                self._control.stop(wait=False)
                self._reporter.close()
                self._chronicle.over(self._reporter.status, self._decision.error)
                self._decision.close()

    def _begin(self) -> TaskFacts:
        """Journal an attempt and tell Datahub of it, or undo both."""
        task = self._task
        is_new = self._sup.make_work_dir(self._settings.state_dir, task.folder_id)
        self._attempt, state = self._sup.journal.start_attempt(
            task.subtask_id, task_id=task.task_id, plugin=task.plugin, config=task.config
        )
        if state and is_new and not self._sup.journal.shared:
            # It went to make room for an outcome, which was lost in the end.
            log.warning("subtask %s: its saved state goes with its lost files", task.subtask_id)
            state = {}
        trace = self._chronicle.begun(task.plugin, self._attempt)
        try:
            self._reporter.begin(self._settings.startup_deadline)
        except BaseException:  # a signal, too
            self._chronicle.note("not started", attempt=self._attempt)
            if not self._reporter.sent:
                begun = self._reporter.begun
                self._sup.journal.forget_attempt(task.subtask_id, self._attempt, begun)
                if self._attempt == 1:
                    self._remove_work_dir()
            raise
        who, folder, number = task.subtask_id, str(self._work_dir), self._attempt
        return TaskFacts(who, task.task_id, number, folder, task.config, state, is_new, trace)

    def _work(self, facts: TaskFacts) -> None:
        settings = self._settings
        self._control.start(self._sup.ticker, self._sup.polls, beat=settings.heartbeat_seconds)
        limit = time_limit(settings, self._isolation) or math.inf
        late = Problem(f"the task took longer than {limit:g} s", Code.TOOK_TOO_LONG)
        over = Stop(TaskStatus.FAILED, late)
        try:
            worker = self._isolation.start(facts, self._host, self._watch.exited)
        except (DatahubError, OSError) as error:
            self._settle_death(line_of(error, "the plugin's process could not be started: "))
            return
        how = self._watch.wait(worker, limit, lambda: self._decision.stop(over))
        self._chronicle.memory = how.peak_kib * 1024
        self._settle_death(how.cause())

    def _settle_death(self, cause: str) -> None:
        self._host.gone()
        self._decision.settle_death(cause)

    def _conclude(self) -> TaskOutcome:
        delivery, kept = self._reporter.conclude(self._deliver())
        self._decision.refuse_if_fenced()
        ending, stop = self._reporter.ending, self._decision.reason
        if ending is not None:
            outcome = outcome_of(ending, delivery, kept=kept)
            if outcome.kept or outcome.delivered:  # else it is to run again
                self._remove_work_dir()
            return outcome
        if stop is not None and stop.found is not None:
            self._remove_work_dir()
        status = self._reporter.status
        error = self._decision.error
        if not (delivery.done or kept):
            error = f"its status could be neither kept nor delivered: {delivery.error}"
        return TaskOutcome(
            self._task.subtask_id,
            status if stop is None or stop.found is None else stop.found,
            None,
            self._host.uploaded,
            error,
            delivery.done,
            self._attempt,
            stop.signal if stop else self.paused_for,
            kept,
        )

    def _outcome_of(self, result: dict[str, Any] | None, error: str | None) -> dict[str, Any]:
        return {
            "result": result,
            "outputs": [asdict(output) for output in self._host.uploaded],
            "error": error,
            "attempt": self._attempt,
            **({"node": self._task.node} if self._task.node else {}),
        }

    def _deliver_again(self, ending: Report) -> TaskOutcome:
        """A run before this one ended the subtask: deliver what it left; run nothing."""
        self._remove_work_dir()
        outcome = settled_outcome(ending, self._reporter)
        if outcome is not None:
            return outcome
        self._delivering = True
        self._reporter.start()
        return outcome_of(ending, self._deliver())

    def _deliver(self) -> Delivery:
        delivery = self._reporter.wait(self._settings.delivery_deadline)
        if not delivery.done and delivery.superseded_by is None:
            self._chronicle.note("undelivered", error=delivery.error)
        return delivery

    def _remove_work_dir(self) -> None:
        with suppress(OSError):
            remove_work_dir(self._settings.state_dir, self._task.folder_id)
        self._highest.forget()
        with suppress(JournalError):  # the outcome stands, and is kept
            self._sup.journal.uploads.forget(self._task.subtask_id)

    # Control, from any thread

    @property
    def running(self) -> bool:
        """Whether there is something to report, so that ``shutdown`` is the way to end."""
        return self._delivering or self._reporter.sent

    def call_off(self) -> bool:
        """Begin nothing, if Datahub cannot have heard of it; whether so. For signal handlers."""
        return not self.running and self._reporter.call_off()

    @property
    def percent(self) -> int:
        """See control.Controlled."""
        return self._highest.raise_to(self._host.percent)

    @property
    def paused_for(self) -> int | None:
        """See host.Owner."""
        return self._decision.paused_for

    def pause(self) -> None:
        """Hold the task at its next checkpoint."""
        self._hold(pausing=True)

    def resume(self) -> None:
        """Let a paused task go on, unless a signal paused it."""
        if self.paused_for is None:
            self._hold(pausing=False)

    def _hold(self, *, pausing: bool) -> None:
        with self._lock:
            if self.pausing != pausing:
                self.pausing = pausing
                self._watch.signal("pause" if pausing else "resume")

    def cancel(self) -> None:
        """Stop the task: at its next checkpoint, or after the grace period by force."""
        self._decision.stop(Stop(TaskStatus.CANCELLED, None))

    def abandon(self, status: TaskStatus | None) -> None:
        """See control.Controlled."""
        why = f"ended the subtask as {status.name.lower()}" if status else "has no such subtask"
        stop = Stop(None, f"stopped: Datahub {why}", found=status or TaskStatus.FAILED)
        self._decision.stop(stop)

    def fence(self) -> None:
        """Another node has taken the subtask over: stop the task, and report nothing more."""
        lost = LeaseLostError(f"another node has taken subtask {self._task.subtask_id} over")
        self._decision.fence(lost)
        self._reporter.close(lost)
        self._control.stop(wait=False)

    def shutdown(self, number: int) -> None:
        """Do what ``ON_SHUTDOWN`` says about a signal; the second time, without grace."""
        again = self._decision.shut_down()
        grace = 0.0 if again else self._settings.grace_seconds
        self._sup.journal.hurry(grace)  # first: the reporter may be waiting for it
        name = f"stopped by {signal.Signals(number).name}"
        hint = "" if again else "; a second signal ends it at once"
        log.warning("subtask %s: %s, grace %g s%s", self._task.subtask_id, name, grace, hint)
        policy = self._settings.on_shutdown
        if again:
            self._watch.end_within(0, then_kill=AT_ONCE_SECONDS)
        elif policy in {"pause", "leave"}:
            self._decision.paused_for = number
            self.pause()
            self._watch.end_within(0 if self._reporter.status is TaskStatus.PAUSED else grace)
        else:
            status = TaskStatus.FAILED if policy == "fail" else TaskStatus.CANCELLED
            self._decision.stop(Stop(status, Problem(name, Code.STOPPED_BY_SIGNAL), number))
        # Last: a run that waits for Datahub to hear of its start finds why it goes on.
        self._reporter.hurry(grace + TERM_TO_KILL_SECONDS + LAST_CALL_SECONDS)
        self._chronicle.note("signal", name=signal.Signals(number).name)

    # What the host asks

    def check(self) -> None:
        """See host.Owner."""
        if self.stopped.is_set():
            raise TaskCancelled("the task is being stopped")

    def confirm(self, status: TaskStatus) -> None:
        """See host.Owner."""
        if self.paused_for is None or self._settings.on_shutdown != "leave":
            self._reporter.report(status)
        self._watch.expect_progress(expected=status is TaskStatus.RUNNING)
        if status is TaskStatus.PAUSED and self.paused_for is not None:
            self._watch.end_within(0)

    def progressed(self, percent: int) -> None:
        """See host.Owner."""
        self._watch.moved()
        with self._lock:
            before, self._told_percent = self._told_percent, max(percent, self._told_percent)
        if percent > before:
            self._chronicle.tell("datahub_progress", percent=percent)

    def settle(self, ending: Ending, uploads: Callable[[], object]) -> Verdict:
        """See host.Owner."""
        return self._decision.settle(ending, uploads)
