"""How a subtask ends: by its work, by a stop or by a signal. The first ending stands."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from typing import Any

from plugin_framework.errors import Code, JournalError, LeaseLostError, Problem, TaskCancelled
from plugin_framework.isolation.session import Ending, Verdict
from plugin_framework.lifecycle.ending import keep_ending, queue_unkept
from plugin_framework.lifecycle.host import line_of
from plugin_framework.lifecycle.reporter import Reporter
from plugin_framework.lifecycle.room import wait_for_room
from plugin_framework.lifecycle.stop import FENCED_SECONDS, Stop
from plugin_framework.lifecycle.watch import TERM_TO_KILL_SECONDS, Watch
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.settings import Settings

log: logging.Logger = logging.getLogger("datahub.runner")


class Decision:
    """That of one run. Called from several threads.

    ``stopped`` is set when the task is to stop. ``outcome_of`` makes the outcome to be kept, of a
    result and an error. ``make_room`` is called where the disk is full, and ``be_silent`` where
    Datahub is to be told nothing more. ``shared``: the journal is kept for other machines, too.

    Attributes:
        reason: why the task is stopped, if it is.
        paused_for: the number of the signal that pauses it, if one does.
        shutting_down: there was a signal.
    """

    def __init__(
        self,
        subtask_id: str,
        *,
        settings: Settings,
        reporter: Reporter,
        watch: Watch,
        stopped: threading.Event,
        outcome_of: Callable[[dict[str, Any] | None, str | None], dict[str, Any]],
        make_room: Callable[[], None],
        be_silent: Callable[[], None],
        shared: bool,
    ) -> None:
        self._subtask_id = subtask_id
        self._settings = settings
        self._reporter = reporter
        self._watch = watch
        self._stopped = stopped
        self._outcome_of = outcome_of
        self._make_room = make_room
        self._be_silent = be_silent
        self._shared = shared
        self._changed = threading.Condition()
        self._verdict: Verdict | None = None
        self._storing = self._deciding = self._over = self._fenced = False
        self.reason: Stop | None = None
        self.paused_for: int | None = None
        self.shutting_down: bool = False

    @property
    def error(self) -> str | None:
        """What went wrong, if it is known and something did."""
        return self.reason.error if self.reason else self._verdict.error if self._verdict else None

    # What ends the task

    def stop(self, stop: Stop) -> None:
        """Stop the task for a reason; the first reason stands."""
        with self._changed:
            if self.reason is not None or self._verdict is not None:
                return
            if self._deciding:  # the work is over; but its result may still wait for room
                self.reason = stop if stop.by_datahub else None
                self._changed.notify_all()
            else:
                failing = stop.status is TaskStatus.FAILED
                self._stop(stop, "fail" if failing else "cancel", self._settings.grace_seconds)

    def fence(self, error: LeaseLostError) -> None:
        """Stop the task whatever was decided, and decide nothing more."""
        grace = min(self._settings.grace_seconds, FENCED_SECONDS)
        with self._changed:
            self._fenced = True
            # As failing, so that it does not clean up as after a cancel.
            self._stop(self.reason or Stop(None, str(error)), "fail", grace)

    def _stop(self, stop: Stop, signal_name: str, grace: float) -> None:
        self.reason = stop
        self._stopped.set()
        self._watch.signal(signal_name)
        self._watch.end_within(grace)
        self._changed.notify_all()

    def shut_down(self) -> bool:
        """There is a signal; whether there was one before."""
        with self._changed:
            again, self.shutting_down = self.shutting_down, True
            self._changed.notify_all()
            return again

    def close(self) -> None:
        """The run is over: nothing waits for room any longer."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def refuse_if_fenced(self) -> None:
        """Raise LeaseLostError if another node has taken the subtask over."""
        if self._fenced:
            raise LeaseLostError(f"subtask {self._subtask_id} goes on at another node")

    # How its work ended

    def settle(self, ending: Ending, uploads: Callable[[], object]) -> Verdict:
        """Decide by what the work ended as; see host.Owner."""
        try:
            return self._settled(ending, uploads)
        except LeaseLostError as error:
            raise TaskCancelled(str(error)) from None

    def _settled(self, ending: Ending, uploads: Callable[[], object]) -> Verdict:
        error = ending.error
        if ending.kind == "returned":
            error = self._store(uploads)
            if error is None:
                return self.decide(TaskStatus.COMPLETED, None, ending.result)
        elif self._is_suspended():
            raise TaskCancelled("the subtask goes on at the next start")
        return self._fail(error or "TaskCancelled was raised, but nobody cancelled")

    def _store(self, uploads: Callable[[], object]) -> str | None:
        """Upload what the work left, and say what went wrong, if something did.

        Nothing is locked meanwhile: a stop must not have to wait for storage.
        """
        with self._changed:
            self._storing = self._verdict is None
        what = f"what subtask {self._subtask_id} has uploaded"
        patience = self._settings.delivery_deadline
        try:
            wait_for_room(uploads, what, patience=patience, ended=self._stopped.wait)
        except TaskCancelled:
            return "the upload was stopped"
        except Exception as failure:  # noqa: BLE001 - what cannot be stored fails the task
            return line_of(failure, "an output could not be stored: ")
        finally:
            with self._changed:
                self._storing = False
                self._changed.notify_all()
        return None

    def settle_death(self, cause: str) -> None:
        """The worker is gone; if it did not say how its work ended, ``cause`` says it."""
        with self._changed:
            # What it returned stands, unless it is being stopped.
            self._changed.wait_for(lambda: not self._storing or self.reason or self.shutting_down)
            self._changed.wait_for(lambda: not self._storing, TERM_TO_KILL_SECONDS)
        self.refuse_if_fenced()
        if not self._is_suspended():
            self._fail(Problem(cause, Code.PLUGIN_CRASHED))

    def _is_suspended(self) -> bool:
        """Whether a signal ends the run, and not the subtask; then that is settled.

        It holds the task at a checkpoint, or the task reached none within the grace period. How a
        worker ends that was made to end says nothing of its work.
        """
        with self._changed:
            undecided = self.reason is None and self._verdict is None and not self._deciding
            if self.paused_for is None or not self._watch.forced or not undecided:
                return False
            error = None
            if self._settings.on_shutdown == "pause":
                self._reporter.report(TaskStatus.PAUSED)
            else:
                error = f"stopped by {signal.Signals(self.paused_for).name}"
            self._verdict = Verdict(int(self._reporter.status), error)
            self._stopped.set()
            return True

    def _fail(self, error: str) -> Verdict:
        """Decide on the reason for the stop where there is one, else on status 5."""
        stop = self.reason or Stop(TaskStatus.FAILED, error)
        return self.decide(stop.status, stop.error, None)

    def decide(
        self, status: TaskStatus | None, error: str | None, result: dict[str, Any] | None
    ) -> Verdict:
        """Journal the outcome. The first one stands.

        Nothing is locked meanwhile: it may have to wait for room, and be told to stop waiting.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._deciding)
            if self._verdict is not None:
                return self._verdict
            self._deciding = True
        self._watch.expect_progress(expected=False)
        verdict = None
        try:
            verdict = self._end(status, error, result)
        finally:
            with self._changed:
                self._deciding, self._verdict = False, verdict
                self._changed.notify_all()
        self._watch.end_within(self._settings.grace_seconds)
        return verdict

    def _end(
        self, status: TaskStatus | None, error: str | None, result: dict[str, Any] | None
    ) -> Verdict:
        self.refuse_if_fenced()
        if status is None:
            self._be_silent()
            return Verdict(int(self._reporter.status), error)
        ending = (status, result, self._outcome_of(result, error))
        # A result may wait for room, for nothing else has it.
        patience = self._settings.delivery_deadline if result is not None else 0
        try:
            keep_ending(
                self._reporter,
                self._subtask_id,
                ending,
                patience=patience,
                ended=self._called_off,
                # The task's own files may be what fills the disk, and nobody needs them any more.
                make_room=self._make_room,
            )
        except JournalError:
            self.refuse_if_fenced()
            if (stop := self.reason) is not None and stop.by_datahub and result is not None:
                return self._end(stop.status, stop.error, None)
            queue_unkept(self._reporter, self._subtask_id, ending, self._shared)
        if error:
            told = Problem(error, Code.TASK_FAILED)
            log.error("subtask %s %s: %s", self._subtask_id, status.name.lower(), told)
        return Verdict(int(status), error)

    def _called_off(self, seconds: float) -> bool:
        """Wait so long, and say whether a result is to wait for room no longer."""
        with self._changed:
            return self._changed.wait_for(
                lambda: bool(self.reason or self.shutting_down or self._over), seconds
            )
