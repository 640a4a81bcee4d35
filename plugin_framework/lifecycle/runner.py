"""Drives one subtask from status 1 to its terminal report."""

from __future__ import annotations

import logging
import math
import queue
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from plugin_framework.errors import (
    DatahubError,
    FinalError,
    JournalError,
    RejectedError,
    RetryableError,
    TaskCancelled,
)
from plugin_framework.isolation.process import WorkerExit
from plugin_framework.isolation.session import Ending, TaskHost, Verdict
from plugin_framework.journal.journal import Journal, Report
from plugin_framework.lifecycle.folders import make_work_dir, subtask_lock
from plugin_framework.lifecycle.heartbeat import Tick, Ticker
from plugin_framework.lifecycle.host import SupervisorHost, error_line
from plugin_framework.lifecycle.outcome import TaskOutcome
from plugin_framework.lifecycle.reporter import Delivery, Reporter
from plugin_framework.plugin.context import TaskFacts, UploadedFile
from plugin_framework.protocol.client import DatahubClient
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.settings import Settings
from plugin_framework.transfer.engine import Engine

log = logging.getLogger("datahub.runner")

TERM_TO_KILL_SECONDS = 1.0
BEAT_DEADLINE_SECONDS = 10.0


class Worker(Protocol):
    """Where the hooks of one task run."""

    def signal(self, name: str) -> None:
        """Pass on ``pause``, ``resume`` or ``cancel``."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it."""


class Isolation(Protocol):
    """Where a plugin's tasks run."""

    def info(self) -> Mapping[str, Any]:
        """The plugin's ``isolation`` and ``timeout_seconds``."""

    def check(self, config: Mapping[str, Any]) -> None:
        """Validate a config."""

    def start(
        self, facts: TaskFacts, host: TaskHost, on_exit: Callable[[WorkerExit], None]
    ) -> Worker:
        """Start the hooks of a task."""

    def close(self) -> None:
        """End what still runs."""


class Observer(Protocol):
    """Told what happens, by pluggy's names; see ``plugin.hookspecs.ObserverHooks``."""

    def tell(self, hook: str, **facts: Any) -> None:
        """Call an observing hook, some time soon."""

    def close(self) -> None:
        """Call what is queued, and stop."""


@dataclass(frozen=True, slots=True)
class Task:
    """A subtask to run: ``config`` is the plain JSON that Datahub gave."""

    subtask_id: str
    task_id: str | None
    plugin: str
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Supervisor:
    """What all tasks of this process share."""

    settings: Settings
    client: DatahubClient
    journal: Journal
    engine: Engine
    ticker: Ticker
    observer: Observer


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a task is stopped, and what to report; no status: report nothing."""

    status: TaskStatus | None
    error: str | None
    signal: int | None = None


class Run:
    """One run of one subtask. ``execute`` blocks; the other methods are for other threads."""

    def __init__(self, supervisor: Supervisor, isolation: Isolation, task: Task) -> None:
        self._sup = supervisor
        self._isolation = isolation
        self._task = task
        self._settings = supervisor.settings
        self._events: queue.SimpleQueue[WorkerExit | None] = queue.SimpleQueue()
        self._lock = threading.RLock()
        self._settling = threading.Lock()
        self._worker: Worker | None = None
        self._ticks: list[Tick] = []
        self._stop: Stop | None = None
        self._pausing = False
        self._shutting_down = False
        self._paused_for: int | None = None
        self._verdict: Verdict | None = None
        self._attempt = 0
        self._percent = -1
        self._moved_at = time.monotonic()
        self._term_at = math.inf
        self._kill_at = math.inf
        self._reporter = Reporter(
            supervisor.client,
            supervisor.journal,
            task.subtask_id,
            task_id=task.task_id,
            patience=self._settings.delivery_deadline,
            on_status=self._status_changed,
            on_delivered=self._report_delivered,
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
        task, state_dir = self._task, self._settings.state_dir
        self._isolation.check(task.config)
        with subtask_lock(state_dir, task.subtask_id):
            ending = self._sup.journal.ending(task.subtask_id)
            if ending is not None:
                return self._deliver_again(ending)
            work_dir = make_work_dir(state_dir, task.subtask_id)
            self._attempt, state = self._sup.journal.start_attempt(
                task.subtask_id, task_id=task.task_id, plugin=task.plugin, config=task.config
            )
            try:
                self._reporter.begin(self._settings.startup_deadline)
            except (RetryableError, FinalError):
                self._sup.journal.forget_attempt(task.subtask_id, self._attempt)
                raise
            return self._supervise(work_dir, state)

    def _supervise(self, work_dir: Path, state: Mapping[str, Any]) -> TaskOutcome:
        task = self._task
        facts = TaskFacts(
            task.subtask_id, task.task_id, self._attempt, str(work_dir), task.config, state
        )
        host = SupervisorHost(
            task.subtask_id,
            owner=self,
            client=self._sup.client,
            journal=self._sup.journal,
            engine=self._sup.engine,
            settings=self._settings.transfer,
            work_dir=work_dir,
            transferred=self._transferred,
        )
        self._host = host
        self._start_ticks()
        try:
            with self._lock:
                self._worker = self._isolation.start(facts, host, self._events.put)
                if self._stop is not None:
                    self._worker.signal("cancel")
            self._settle_exit(self._watch())
        except JournalError:
            raise
        except DatahubError as error:
            self.settle(Ending("failed", error=error_line(error)), lambda: None)
        finally:
            self._stop_ticks()
        return self._conclude(work_dir)

    def _watch(self) -> WorkerExit:
        limit = self._time_limit()
        timeout_at = time.monotonic() + limit
        while True:
            now = time.monotonic()
            due = min(timeout_at, self._term_at, self._kill_at, self._stalled_at())
            try:
                event = self._events.get(timeout=max(due - now, 0) if due < math.inf else None)
            except queue.Empty:
                if time.monotonic() >= timeout_at:
                    timeout_at = math.inf
                    self.stop(Stop(TaskStatus.FAILED, f"the task took longer than {limit:g} s"))
                self._escalate()
                continue
            if event is not None:
                return event

    def _escalate(self) -> None:
        now = time.monotonic()
        worker = self._worker
        if worker is None:
            return
        if now >= self._kill_at:
            self._kill_at = now + TERM_TO_KILL_SECONDS
            worker.kill()
        elif now >= self._term_at:
            self._term_at, self._kill_at = math.inf, now + TERM_TO_KILL_SECONDS
            worker.terminate()
        if now >= self._stalled_at():
            seconds = now - self._moved_at
            log.warning("subtask %s: no progress for %.0f s", self._task.subtask_id, seconds)
            self._tell("datahub_stalled", seconds=seconds)
            self._moved_at = now

    def _stalled_at(self) -> float:
        stall = self._settings.stall_seconds
        return self._moved_at + stall if stall and self._verdict is None else math.inf

    def _time_limit(self) -> float:
        settings = self._settings
        chosen = settings.timeout_seconds
        if "timeout_seconds" not in settings.model_fields_set:
            chosen = self._isolation.info()["timeout_seconds"] or chosen
        return chosen or math.inf

    def _settle_exit(self, exit_: WorkerExit) -> None:
        """The worker is gone; if it did not say how its work ended, the exit says it."""
        if self._paused_for is not None and self._verdict is None:
            # It never reached a checkpoint within the grace period, but it is suspended now.
            self._reporter.report(TaskStatus.PAUSED)
            return
        self.settle(Ending("failed", error=exit_.cause()), lambda: None)

    def _conclude(self, work_dir: Path) -> TaskOutcome:
        delivery = self._reporter.wait(self._settings.delivery_deadline)
        self._reporter.close()
        outcome = self._outcome(delivery)
        if self._reporter.status.is_final:
            shutil.rmtree(work_dir, ignore_errors=True)
        return outcome

    def _outcome(self, delivery: Delivery) -> TaskOutcome:
        ending = self._sup.journal.ending(self._task.subtask_id)
        if ending is not None:
            return _outcome_of(ending, delivery)
        stop = self._stop
        return TaskOutcome(
            self._task.subtask_id,
            TaskStatus(self._verdict.status) if self._verdict else self._reporter.status,
            None,
            tuple(self._host.uploaded),
            stop.error if stop else None,
            delivery.done,
            self._attempt,
            stop.signal if stop else self._paused_for,
        )

    def _deliver_again(self, ending: Report) -> TaskOutcome:
        """A run before this one ended the subtask: deliver what it left; run nothing."""
        if ending.fate == "delivered":
            return _outcome_of(ending, Delivery(done=True))
        if ending.fate == "refused":
            return _outcome_of(ending, Delivery(done=False, error="Datahub refused the report"))
        self._reporter.start()
        delivery = self._reporter.wait(self._settings.delivery_deadline)
        self._reporter.close()
        return _outcome_of(ending, delivery)

    # Control, from any thread

    def pause(self) -> None:
        """Hold the task at its next checkpoint."""
        with self._lock:
            self._pausing = True
            self._signal("pause")

    def resume(self) -> None:
        """Let a paused task go on."""
        with self._lock:
            self._pausing = False
            self._signal("resume")

    def cancel(self) -> None:
        """Stop the task: at its next checkpoint, or after the grace period by force."""
        self.stop(Stop(TaskStatus.CANCELLED, None))

    @property
    def running(self) -> bool:
        """Whether the plugin's code has been started."""
        return self._worker is not None

    def shutdown(self, number: int) -> None:
        """Do what ``ON_SHUTDOWN`` says about a signal; the second time, without grace."""
        name = f"stopped by {signal.Signals(number).name}"
        if self._shutting_down:
            self._arm(0)
            return
        self._shutting_down = True
        policy = self._settings.on_shutdown
        if policy == "pause":
            self._paused_for = number
            self.pause()
            self._arm(self._settings.grace_seconds)
        elif policy == "leave":
            self.stop(Stop(None, name, number))
            self._arm(0)
        else:
            status = TaskStatus.FAILED if policy == "fail" else TaskStatus.CANCELLED
            self.stop(Stop(status, name, number))

    def stop(self, stop: Stop) -> None:
        """Stop the task for a reason; the first reason stands."""
        with self._lock:
            if self._stop is None and self._verdict is None:
                self._stop = stop
                self._signal("cancel")
                self._arm(self._settings.grace_seconds)

    def _signal(self, name: str) -> None:
        if self._worker is not None:
            self._worker.signal(name)

    def _arm(self, seconds: float) -> None:
        self._term_at = min(self._term_at, time.monotonic() + seconds)
        self._events.put(None)

    # What the host asks

    def check(self) -> None:
        """See host.Owner."""
        if self._stop is not None:
            raise TaskCancelled("the task is being stopped")

    def confirm(self, status: TaskStatus) -> None:
        """See host.Owner."""
        self._reporter.report(status)
        if status is TaskStatus.PAUSED and self._paused_for is not None:
            self._arm(0)

    def progressed(self, percent: int) -> None:
        """See host.Owner."""
        self._moved_at = time.monotonic()
        with self._lock:
            risen, self._percent = percent > self._percent, max(percent, self._percent)
        if risen:
            self._tell("datahub_progress", percent=percent)

    def settle(self, ending: Ending, uploads: Callable[[], object]) -> Verdict:
        """See host.Owner. The first ending stands."""
        with self._settling:
            if self._verdict is None:
                status, error, result = self._judge(ending, uploads)
                self._finish(status, error, result)
                self._verdict = Verdict(int(status or self._reporter.status), error)
                self._arm(self._settings.grace_seconds)
            return self._verdict

    def _judge(
        self, ending: Ending, uploads: Callable[[], object]
    ) -> tuple[TaskStatus | None, str | None, dict[str, Any] | None]:
        error = ending.error
        if ending.kind == "returned":
            try:
                uploads()
            except TaskCancelled:
                pass
            except (DatahubError, OSError) as failure:
                error = f"an output could not be stored: {failure}"
            else:
                return TaskStatus.COMPLETED, None, ending.result
        if self._stop is not None:
            return self._stop.status, self._stop.error, None
        return TaskStatus.FAILED, error or "TaskCancelled was raised, but nobody cancelled", None

    def _finish(
        self, status: TaskStatus | None, error: str | None, result: dict[str, Any] | None
    ) -> None:
        self._stop_ticks()
        if status is None:
            return
        if error:
            log.error("subtask %s failed: %s", self._task.subtask_id, error)
        if status is TaskStatus.COMPLETED:
            # A task may return while another of its threads is held at a checkpoint.
            self._reporter.report(TaskStatus.RUNNING)
        outcome = {
            "result": result,
            "outputs": [asdict(output) for output in self._host.uploaded],
            "error": error,
            "attempt": self._attempt,
        }
        self._reporter.end(status, result, outcome)

    # Periodic calls

    def _start_ticks(self) -> None:
        beat = self._sup.ticker.start(self._settings.heartbeat_seconds, self._beat)
        self._ticks = [beat]
        if self._settings.poll_seconds:
            self._ticks.append(self._sup.ticker.start(self._settings.poll_seconds, self._poll))

    def _stop_ticks(self) -> None:
        for tick in self._ticks:
            tick.stop()
        self._ticks = []

    def _beat(self) -> None:
        deadline = min(max(self._settings.heartbeat_seconds, 2.0), BEAT_DEADLINE_SECONDS)
        try:
            self._sup.client.heartbeat(self._task.subtask_id, self._host.percent, deadline=deadline)
        except RejectedError as error:
            log.warning("heartbeat of subtask %s: %s", self._task.subtask_id, error)
            self._poll()
        except DatahubError as error:
            log.warning("heartbeat of subtask %s: %s", self._task.subtask_id, error)

    def _poll(self) -> None:
        asked_at = time.monotonic()
        try:
            status = self._sup.client.notify(
                self._task.task_id or self._task.subtask_id, patience=0
            )
        except DatahubError as error:
            log.debug("notify for subtask %s: %s", self._task.subtask_id, error)
            return
        if self._reporter.settled_since(asked_at):
            self._obey(status)

    def _obey(self, status: TaskStatus) -> None:
        """Datahub has the subtask at ``status``: follow."""
        if status is TaskStatus.CANCELLED:
            self.cancel()
        elif status.is_final:
            self.stop(Stop(None, f"Datahub ended the subtask as {status.name.lower()}"))
        elif status is TaskStatus.PAUSED and not self._pausing:
            self.pause()
        elif status is TaskStatus.RUNNING and self._pausing and self._paused_for is None:
            self.resume()

    # Observers

    def _status_changed(self, old: TaskStatus, new: TaskStatus) -> None:
        log.info("subtask %s: %s", self._task.subtask_id, new.name.lower())
        self._tell("datahub_status_changed", old=old, new=new)

    def _report_delivered(self, report: Report) -> None:
        kind = "result" if report.path.endswith("/result") else "status"
        self._tell("datahub_report_delivered", kind=kind, body=report.body)

    def _transferred(self, direction: str, name: str, sent: int, total: int) -> None:
        self._tell("datahub_transfer", direction=direction, name=name, sent=sent, total=total)

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
