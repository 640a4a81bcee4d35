"""Asks Datahub what it wants of the tasks that run here: the fallback where no call reaches us."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from plugin_framework.errors import DatahubError, RetryableError
from plugin_framework.lifecycle.heartbeat import Tick, Ticking
from plugin_framework.protocol.client import DatahubClient
from plugin_framework.protocol.models import TaskStatus

CALLS_PER_SECOND = 5
"""Of all tasks of a supervisor together: with very many, each is asked about less often."""

DEADLINE = 5.0
"""Seconds for one call."""


Told = Callable[[float, TaskStatus | DatahubError], object]
"""Told of an answer: when it was asked for, in monotonic seconds, and what came."""


class Polls:
    """All questions of one supervisor: one for each task id, whoever wants to know."""

    def __init__(self, client: DatahubClient, ticker: Ticking, seconds: float) -> None:
        """``seconds`` between two questions about one task id; 0: none are asked."""
        self._client = client
        self._ticker = ticker
        self._seconds = seconds
        self._questions: dict[str, _Question] = {}
        self._lock = threading.Lock()
        self._silent_until = 0.0

    def watch(self, task_id: str, told: Told) -> Poll | None:
        """Have ``told`` called with each answer about a task id, until the poll is stopped."""
        if not self._seconds:
            return None
        poll = Poll(self, task_id, told)
        with self._lock:
            question = self._questions.setdefault(task_id, _Question())
            question.polls.append(poll)
            if question.tick is None:
                question.tick = self._ticker.start(self._interval, lambda: self._ask(task_id))
        return poll

    def drop(self, poll: Poll) -> None:
        """Tell it nothing more; ask nothing that nobody wants to know."""
        with self._lock:
            question = self._questions.get(poll.task_id)
            if question is None or poll not in question.polls:
                return
            question.polls.remove(poll)
            if not question.polls:
                del self._questions[poll.task_id]
                assert question.tick is not None
                question.tick.stop(wait=False)

    def _interval(self) -> float:
        return max(self._seconds, len(self._questions) / CALLS_PER_SECOND)

    def _ask(self, task_id: str) -> None:
        asked_at = time.monotonic()
        if asked_at < self._silent_until:
            return
        answer: TaskStatus | DatahubError
        try:
            answer = self._client.notify(task_id, patience=0, deadline=DEADLINE)
        except DatahubError as error:
            answer = error
            if isinstance(error, RetryableError) and error.retry_after:
                # Each goes on at its own times then, and not all at this moment.
                self._silent_until = asked_at + error.retry_after
        with self._lock:
            question = self._questions.get(task_id)
            polls = list(question.polls) if question else []
        for poll in polls:
            poll.tell(asked_at, answer)


class Poll:
    """Someone who wants to know."""

    def __init__(self, polls: Polls, task_id: str, told: Told) -> None:
        self.task_id = task_id
        self._polls = polls
        self._told = told
        self._lock = threading.Lock()
        self._stopped = False

    def tell(self, asked_at: float, answer: TaskStatus | DatahubError) -> None:
        """Pass an answer on, unless stopped meanwhile."""
        with self._lock:
            if not self._stopped:
                self._told(asked_at, answer)

    def stop(self, *, wait: bool = True) -> None:
        """Be told nothing more. With ``wait``, nothing is being told when this returns."""
        self._stopped = True
        self._polls.drop(self)
        if wait:
            with self._lock:
                return


class _Question:
    """What is asked about one task id, and for whom."""

    def __init__(self) -> None:
        self.polls: list[Poll] = []
        self.tick: Tick | None = None
