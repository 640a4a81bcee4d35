"""Tells Datahub that a subtask is alive, and has its run do what Datahub wants of it."""

from __future__ import annotations

import logging
import math
import time
from typing import Protocol

from plugin_framework.errors import DatahubError, RejectedError
from plugin_framework.lifecycle.chronicle import Chronicle
from plugin_framework.lifecycle.heartbeat import Tick, Ticking
from plugin_framework.lifecycle.polling import Poll, Polls
from plugin_framework.lifecycle.reporter import Reporter
from plugin_framework.lifecycle.supervisor import Task
from plugin_framework.protocol.client import DatahubClient
from plugin_framework.protocol.models import TaskStatus

log: logging.Logger = logging.getLogger("datahub.control")

SHORTEST_DEADLINE, LONGEST_DEADLINE = 2.0, 5.0
"""Seconds for one call: a heartbeat that comes much later than its time is of no use."""


class Controlled(Protocol):
    """What is controlled: one run of a subtask.

    Attributes:
        pausing: it is to hold, or holds already.
    """

    pausing: bool

    @property
    def percent(self) -> int:
        """The progress that heartbeats carry."""

    def pause(self) -> None:
        """Hold the task at its next checkpoint."""

    def resume(self) -> None:
        """Let a paused task go on."""

    def cancel(self) -> None:
        """Stop the task, and report it cancelled."""

    def abandon(self, status: TaskStatus | None) -> None:
        """Stop the task and report nothing: Datahub ended it so, or does not know it."""


class Control:
    """The periodic calls of one run."""

    def __init__(
        self,
        run: Controlled,
        task: Task,
        client: DatahubClient,
        reporter: Reporter,
        chronicle: Chronicle,
    ) -> None:
        self._run = run
        self._client = client
        self._reporter = reporter
        self._subtask_id = task.subtask_id
        self._notify_id = task.task_id or task.subtask_id
        self._chronicle = chronicle
        self._deadline = LONGEST_DEADLINE
        self._interval, self._due = 0.0, math.inf
        self._ticks: list[Tick | Poll] = []
        self._asked: TaskStatus | None = None

    def start(self, ticker: Ticking, polls: Polls, *, beat: float) -> None:
        """Send a heartbeat every ``beat`` seconds from now on, and hear what to do."""
        self._deadline = min(max(beat, SHORTEST_DEADLINE), LONGEST_DEADLINE)
        self._interval = beat
        self._ticks = [ticker.start(lambda: beat, self._beat)]
        poll = polls.watch(self._notify_id, self._told)
        if poll is not None:
            self._ticks.append(poll)

    def stop(self, *, wait: bool) -> None:
        """Make no further call. With ``wait``, none is under way when this returns."""
        for tick in self._ticks:
            tick.stop(wait=False)
        for tick in self._ticks:
            tick.stop(wait=wait)

    def _beat(self) -> None:
        began = time.monotonic()
        late, self._due = max(began - self._due, 0.0), began + self._interval
        try:
            self._client.heartbeat(self._subtask_id, self._run.percent, deadline=self._deadline)
            self._chronicle.heartbeat(late, None)
        except DatahubError as error:
            log.warning("heartbeat of subtask %s: %s", self._subtask_id, error)
            self._chronicle.heartbeat(late, error)
            if isinstance(error, RejectedError):
                self._ask()

    def _ask(self) -> None:
        """Datahub has just refused a heartbeat: ask why."""
        asked_at = time.monotonic()
        try:
            status = self._client.notify(self._notify_id, patience=0, deadline=self._deadline)
        except DatahubError as error:
            self._told(asked_at, error)
            if isinstance(error, RejectedError):
                self._run.abandon(None)
        else:
            self._told(asked_at, status)

    def _told(self, asked_at: float, answer: TaskStatus | DatahubError) -> None:
        """Follow what notify says."""
        if isinstance(answer, DatahubError):
            level = logging.WARNING if isinstance(answer, RejectedError) else logging.DEBUG
            log.log(level, "notify for subtask %s: %s", self._subtask_id, answer)
        # An answer from before our own report arrived would undo what we reported.
        elif self._reporter.settled_since(asked_at):
            self._obey(answer)

    def _obey(self, status: TaskStatus) -> None:
        reported, before = self._reporter.status, self._asked
        self._asked = status
        if status is TaskStatus.CANCELLED:
            self._run.cancel()
        elif status.is_final:
            self._run.abandon(status)
        elif status is TaskStatus.PAUSED and reported is TaskStatus.RUNNING:
            self._run.pause()
        # Status 1 is also what Datahub has until a pause that someone else asked for takes hold.
        elif status is TaskStatus.RUNNING and TaskStatus.PAUSED in {reported, before}:
            self._run.resume()
