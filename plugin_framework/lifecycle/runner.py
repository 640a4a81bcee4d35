"""Drives one subtask from status 1 to its terminal report."""

from __future__ import annotations

import logging
import math
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from plugin_framework.errors import DatahubError, JournalError, TaskCancelled
from plugin_framework.isolation.session import Ending, Verdict
from plugin_framework.journal.journal import Report
from plugin_framework.lifecycle.control import LONGEST_DEADLINE, Control
from plugin_framework.lifecycle.folders import make_work_dir, subtask_lock, work_dir_of
from plugin_framework.lifecycle.host import SupervisorHost, error_line
from plugin_framework.lifecycle.outcome import TaskOutcome
from plugin_framework.lifecycle.progress import HighestPercent
from plugin_framework.lifecycle.reporter import Delivery, Reporter
from plugin_framework.lifecycle.supervisor import Isolation, Supervisor, Task
from plugin_framework.lifecycle.watch import TERM_TO_KILL_SECONDS, Watch
from plugin_framework.plugin.context import TaskFacts, UploadedFile
from plugin_framework.protocol.models import TaskStatus

log = logging.getLogger("datahub.runner")

LAST_CALL_SECONDS = 0.5
"""What is left for the last report when a signal has used up the grace period."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a task is stopped, and the status to report.

    Without one nothing is reported; ``found`` is then what Datahub has, where it ended the subtask.
    """

    status: TaskStatus | None
    error: str | None
    signal: int | None = None
    found: TaskStatus | None = None


class Run:
    """One run of one subtask. ``execute`` blocks; the other methods are for other threads."""

    def __init__(self, supervisor: Supervisor, isolation: Isolation, task: Task) -> None:
        self._sup = supervisor
        self._isolation = isolation
        self._task = task
        self._settings = supervisor.settings
        self._changed = threading.Condition()
        self.stopped = threading.Event()
        self.patience = self._settings.delivery_deadline
        self._stop: Stop | None = None
        self._verdict: Verdict | None = None
        self._storing = False
        self._pausing = False
        self._delivering = False
        self._shutting_down = False
        self._paused_for: int | None = None
        self._attempt = 0
        self._told_percent = -1
        self._work_dir = work_dir_of(self._settings.state_dir, task.subtask_id)
        self._transfers: dict[tuple[str, str], float] = {}
        self._unkept: JournalError | None = None
        self._transferred_whole: set[tuple[str, str, int]] = set()
        self._highest = HighestPercent(self._work_dir.with_suffix(".percent"))
        self._watch = Watch(stall=self._settings.stall_seconds, on_stall=self._stalled)
        self._host = SupervisorHost(
            task.subtask_id,
            owner=self,
            client=supervisor.client,
            journal=supervisor.journal,
            engine=supervisor.engine,
            settings=self._settings.transfer,
            work_dir=self._work_dir,
            transferred=self._transferred,
        )
        self._reporter = Reporter(
            supervisor.client,
            supervisor.journal,
            task.subtask_id,
            task_id=task.task_id,
            before_end=lambda: self._control.stop(wait=True),
            on_status=self._status_changed,
            on_delivered=self._report_delivered,
        )
        self._control = Control(
            self,
            client=supervisor.client,
            reporter=self._reporter,
            subtask_id=task.subtask_id,
            task_id=task.task_id,
            timeline=supervisor.journal.timeline,
        )

    # Driving

    def execute(self) -> TaskOutcome:
        """Run the subtask to its end.

        Raises:
            RetryableError, FinalError: Datahub could not be told of the start; nothing was run.
            TaskLockedError: the subtask is running on this machine already.
            JournalError: what happened cannot be kept.
            ConfigurationError: the plugin or its config is not usable.
        """
        self._isolation.check(self._task.config)
        with subtask_lock(self._settings.state_dir, self._task.subtask_id) as was_killed:
            try:
                ending = self._sup.journal.ending(self._task.subtask_id)
                if ending is not None and not self._is_new_to_datahub(ending):
                    return self._deliver_again(ending)
                if was_killed:
                    self._note("interrupted")
                facts = self._begin()
                if was_killed and self._attempt > 1 and self._settings.on_interrupted == "fail":
                    self._decide(TaskStatus.FAILED, "an attempt before this one was killed", None)
                else:
                    self._work(facts)
                return self._conclude()
            finally:
                self._control.stop(wait=False)
                self._reporter.close()

    def _begin(self) -> TaskFacts:
        """Journal an attempt and tell Datahub of it, or undo both."""
        task = self._task
        make_work_dir(self._settings.state_dir, task.subtask_id)
        self._attempt, state = self._sup.journal.start_attempt(
            task.subtask_id, task_id=task.task_id, plugin=task.plugin, config=task.config
        )
        try:
            self._reporter.begin(self._settings.startup_deadline)
        except BaseException:  # a signal, too
            self._sup.journal.forget_attempt(task.subtask_id, self._attempt)
            self._note("not started", attempt=self._attempt)
            if self._attempt == 1:
                self._remove_work_dir()
            raise
        return TaskFacts(
            task.subtask_id, task.task_id, self._attempt, str(self._work_dir), task.config, state
        )

    def _work(self, facts: TaskFacts) -> None:
        settings = self._settings
        self._control.start(self._sup.ticker, self._sup.polls, beat=settings.heartbeat_seconds)
        limit = self._time_limit()
        over = Stop(TaskStatus.FAILED, f"the task took longer than {limit:g} s")
        try:
            worker = self._isolation.start(facts, self._host, self._watch.exited)
        except (DatahubError, OSError) as error:
            self._settle_death(f"the plugin's process could not be started: {error_line(error)}")
            return
        how = self._watch.wait(worker, limit, lambda: self.stop(over))
        self._settle_death(how.cause())

    def _time_limit(self) -> float:
        settings = self._settings
        chosen = settings.timeout_seconds
        if "timeout_seconds" not in settings.model_fields_set:
            chosen = self._isolation.info()["timeout_seconds"] or chosen
        return chosen or math.inf

    def _conclude(self) -> TaskOutcome:
        delivery = self._deliver()
        ending = self._sup.journal.ending(self._task.subtask_id)
        stop = self._stop
        if ending is not None or (stop is not None and stop.found is not None):
            self._remove_work_dir()
        if ending is not None:
            return _outcome_of(ending, delivery)
        status = self._reporter.status
        return TaskOutcome(
            self._task.subtask_id,
            status if stop is None or stop.found is None else stop.found,
            None,
            tuple(self._host.uploaded),
            stop.error if stop else self._verdict.error if self._verdict else None,
            delivery.done,
            self._attempt,
            stop.signal if stop else self._paused_for,
        )

    def _is_new_to_datahub(self, ending: Report) -> bool:
        """Whether Datahub, which had acknowledged the ending, has created the subtask anew."""
        task = self._task
        if ending.fate != "delivered":
            return False
        try:
            status = self._sup.client.notify(
                task.task_id or task.subtask_id, patience=0, deadline=LONGEST_DEADLINE
            )
        except DatahubError:
            return False
        if status is TaskStatus.INITIAL:
            log.warning("subtask %s ended here once, and was created anew", task.subtask_id)
            self._sup.journal.forget(task.subtask_id)
            self._remove_work_dir()
        return status is TaskStatus.INITIAL

    def _deliver_again(self, ending: Report) -> TaskOutcome:
        """A run before this one ended the subtask: deliver what it left; run nothing."""
        ended = TaskStatus(ending.status).name.lower()
        log.warning(
            "subtask %s has ended already (%s): the plugin is not run again",
            self._task.subtask_id,
            ended,
        )
        self._remove_work_dir()
        if ending.fate == "delivered":
            return _outcome_of(ending, Delivery(done=True))
        if ending.fate == "refused":
            found = self._reporter.final_status()
            refused = Delivery(done=False, error="Datahub refused the report", superseded_by=found)
            return _outcome_of(ending, refused)
        self._delivering = True
        self._reporter.start()
        return _outcome_of(ending, self._deliver())

    def _deliver(self) -> Delivery:
        delivery = self._reporter.wait(self._settings.delivery_deadline)
        if not delivery.done and delivery.superseded_by is None:
            self._note("undelivered", error=delivery.error)
        return delivery

    def _remove_work_dir(self) -> None:
        shutil.rmtree(self._work_dir, ignore_errors=True)
        self._highest.forget()
        with suppress(JournalError):  # the outcome stands, and is kept
            self._sup.journal.uploads.forget(self._task.subtask_id)

    # Control, from any thread

    @property
    def running(self) -> bool:
        """Whether there is something to report, so that ``shutdown`` is the way to end."""
        return self._delivering or self._reporter.status is not TaskStatus.INITIAL

    @property
    def percent(self) -> int:
        """See control.Controlled."""
        return self._highest.raise_to(self._host.percent)

    def pause(self) -> None:
        """Hold the task at its next checkpoint."""
        self._hold(pausing=True)

    def resume(self) -> None:
        """Let a paused task go on, unless a signal paused it."""
        if self._paused_for is None:
            self._hold(pausing=False)

    def _hold(self, *, pausing: bool) -> None:
        with self._changed:
            if self._pausing != pausing:
                self._pausing = pausing
                self._watch.signal("pause" if pausing else "resume")

    def cancel(self) -> None:
        """Stop the task: at its next checkpoint, or after the grace period by force."""
        self.stop(Stop(TaskStatus.CANCELLED, None))

    def abandon(self, status: TaskStatus | None) -> None:
        """See control.Controlled."""
        why = f"ended the subtask as {status.name.lower()}" if status else "has no such subtask"
        found = status or TaskStatus.FAILED
        self.stop(Stop(None, f"stopped: Datahub {why}", found=found))

    def stop(self, stop: Stop) -> None:
        """Stop the task for a reason; the first reason stands."""
        with self._changed:
            if self._stop is None and self._verdict is None:
                self._stop = stop
                self.stopped.set()
                failing = stop.status is TaskStatus.FAILED
                self._watch.signal("fail" if failing else "cancel")
                self._watch.end_within(self._settings.grace_seconds)
                self._changed.notify_all()

    def shutdown(self, number: int) -> None:
        """Do what ``ON_SHUTDOWN`` says about a signal; the second time, without grace."""
        with self._changed:
            again, self._shutting_down = self._shutting_down, True
        grace = 0.0 if again else self._settings.grace_seconds
        self._reporter.hurry(grace + TERM_TO_KILL_SECONDS + LAST_CALL_SECONDS)
        self._note("signal", name=signal.Signals(number).name)
        name = f"stopped by {signal.Signals(number).name}"
        hint = "" if again else "; a second signal ends it at once"
        log.warning("subtask %s: %s, grace %g s%s", self._task.subtask_id, name, grace, hint)
        policy = self._settings.on_shutdown
        if again:
            self._watch.end_within(0)
        elif policy == "pause":
            self._paused_for = number
            self.pause()
            held = self._reporter.status is TaskStatus.PAUSED
            self._watch.end_within(0 if held else grace)
        elif policy == "leave":
            self.stop(Stop(None, name, number))
            self._watch.end_within(0)
        else:
            status = TaskStatus.FAILED if policy == "fail" else TaskStatus.CANCELLED
            self.stop(Stop(status, name, number))

    # What the host asks

    def check(self) -> None:
        """See host.Owner."""
        if self.stopped.is_set():
            raise TaskCancelled("the task is being stopped")

    def confirm(self, status: TaskStatus) -> None:
        """See host.Owner."""
        self._reporter.report(status)
        self._watch.expect_progress(expected=status is TaskStatus.RUNNING)
        if status is TaskStatus.PAUSED and self._paused_for is not None:
            self._watch.end_within(0)

    def progressed(self, percent: int) -> None:
        """See host.Owner."""
        self._watch.moved()
        with self._changed:
            risen, self._told_percent = (
                percent > self._told_percent,
                max(percent, self._told_percent),
            )
        if risen:
            self._tell("datahub_progress", percent=percent)

    def settle(self, ending: Ending, uploads: Callable[[], object]) -> Verdict:
        """See host.Owner. The first ending stands."""
        try:
            return self._settle(ending, uploads)
        except JournalError as error:
            self._unkept = error
            raise

    def _settle(self, ending: Ending, uploads: Callable[[], object]) -> Verdict:
        error = ending.error
        if ending.kind == "returned":
            error = self._store(uploads)
            if error is None:
                return self._decide(TaskStatus.COMPLETED, None, ending.result)
        return self._fail(error or "TaskCancelled was raised, but nobody cancelled")

    def _store(self, uploads: Callable[[], object]) -> str | None:
        """Upload what the work left, and say what went wrong, if something did.

        Nothing is locked meanwhile: a stop must not have to wait for storage.
        """
        with self._changed:
            self._storing = self._verdict is None
        try:
            uploads()
        except TaskCancelled:
            return "the upload was stopped"
        except Exception as failure:  # noqa: BLE001 - what cannot be stored fails the task
            return f"an output could not be stored: {error_line(failure)}"
        finally:
            with self._changed:
                self._storing = False
                self._changed.notify_all()
        return None

    def _settle_death(self, cause: str) -> None:
        """The worker is gone; if it did not say how its work ended, ``cause`` says it."""
        if self._unkept is not None:  # it did: the next attempt is to find out what this one did
            raise self._unkept
        with self._changed:
            # What it returned stands, unless it is being stopped.
            self._changed.wait_for(lambda: not self._storing or self._stop)
            self._changed.wait_for(lambda: not self._storing, TERM_TO_KILL_SECONDS)
            suspended = self._paused_for is not None and self._watch.forced
            if suspended and self._stop is None and self._verdict is None:
                # At a checkpoint, or it never reached one within the grace period.
                self._reporter.report(TaskStatus.PAUSED)
                return
        self._fail(cause)

    def _fail(self, error: str) -> Verdict:
        """Decide on the reason for the stop where there is one, else on status 5."""
        stop = self._stop or Stop(TaskStatus.FAILED, error)
        return self._decide(stop.status, stop.error, None)

    def _decide(
        self, status: TaskStatus | None, error: str | None, result: dict[str, Any] | None
    ) -> Verdict:
        """Journal the outcome. The first one stands."""
        with self._changed:
            if self._verdict is None:
                if status is not None:
                    status, error = self._end(status, error, result)
                else:
                    self._control.stop(wait=False)
                self._verdict = Verdict(int(status or self._reporter.status), error)
                self._watch.expect_progress(expected=False)
                self._watch.end_within(self._settings.grace_seconds)
            return self._verdict

    def _end(
        self, status: TaskStatus, error: str | None, result: dict[str, Any] | None
    ) -> tuple[TaskStatus, str | None]:
        if status is TaskStatus.COMPLETED:
            # A task may return while another of its threads is held at a checkpoint.
            self._reporter.report(TaskStatus.RUNNING)
        outcome = {
            "result": result,
            "outputs": [asdict(output) for output in self._host.uploaded],
            "error": error,
            "attempt": self._attempt,
        }
        try:
            self._reporter.end(status, result, outcome)
        except JournalError as no_room:
            log.exception("subtask %s: its outcome cannot be journalled", self._task.subtask_id)
            # The task's own files may be what fills the disk, and nobody needs them any more.
            self._remove_work_dir()
            try:
                self._reporter.end(status, result, outcome)
            except JournalError:
                status = TaskStatus.FAILED if status is TaskStatus.COMPLETED else status
                error = f"the outcome could not be kept: {no_room}"
                self._reporter.end_unkept(status)
        if error:
            log.error("subtask %s %s: %s", self._task.subtask_id, status.name.lower(), error)
        return status, error

    # Observers

    def _stalled(self, seconds: float) -> None:
        log.warning("subtask %s: no progress for %.0f s", self._task.subtask_id, seconds)
        self._note("stalled", seconds=round(seconds, 3))
        self._tell("datahub_stalled", seconds=seconds)

    def _status_changed(self, old: TaskStatus, new: TaskStatus) -> None:
        log.info("subtask %s: %s", self._task.subtask_id, new.name.lower())
        self._tell("datahub_status_changed", old=old, new=new)

    def _report_delivered(self, report: Report) -> None:
        kind = "result" if report.path.endswith("/result") else "status"
        self._tell("datahub_report_delivered", kind=kind, body=report.body)

    def _transferred(self, direction: str, name: str, sent: int, total: int) -> None:
        began = self._transfers.setdefault((direction, name), time.monotonic())
        done = (direction, name, total)
        if sent == total and done not in self._transferred_whole:  # it may be told twice
            self._transferred_whole.add(done)
            seconds = round(time.monotonic() - began, 3)
            self._note("transfer", direction=direction, name=name, size=total, seconds=seconds)
        self._tell("datahub_transfer", direction=direction, name=name, sent=sent, total=total)

    def _note(self, kind: str, **detail: Any) -> None:
        self._sup.journal.timeline.note(self._task.subtask_id, kind, **detail)

    def _tell(self, hook: str, **facts: Any) -> None:
        self._sup.observer.tell(hook, subtask_id=self._task.subtask_id, **facts)


def _outcome_of(ending: Report, delivery: Delivery) -> TaskOutcome:
    kept = ending.outcome or {}
    superseded = delivery.superseded_by
    error = kept["error"]
    if superseded is not None:
        error = f"Datahub had ended the subtask as {superseded.name.lower()} before our report"
    return TaskOutcome(
        ending.subtask_id,
        TaskStatus(ending.status) if superseded is None else superseded,
        kept["result"] if superseded is None else None,
        tuple(UploadedFile(**output) for output in kept["outputs"]),
        error if delivery.done or superseded is not None else error or delivery.error,
        delivery.done or superseded is not None,
        kept["attempt"],
    )
