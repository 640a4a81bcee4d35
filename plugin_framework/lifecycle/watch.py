"""Waits for a worker to end, passes signals on to it, and ends it by force when its time is up."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable
from typing import Final, Literal, Protocol

from plugin_framework.isolation.worker_exit import WorkerExit
from plugin_framework.lifecycle.clock import REAL, Clock

TERM_TO_KILL_SECONDS = 1.0
AT_ONCE_SECONDS = 0.1
"""The same after a second signal: what handles SIGTERM well is quick."""

LOOK: Final = "look"
"""What is put among the events where a deadline has changed."""


class Worker(Protocol):
    """Where the hooks of one task run."""

    def signal(self, name: str) -> None:
        """Pass on ``pause``, ``resume``, ``cancel`` or ``fail``."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it."""


class Watch:
    """One worker's deadlines. ``wait`` is one thread's; the rest may be called from any, early too.

    ``stall`` is in seconds, 0 for never; ``on_stall`` is told how long nothing has moved, once, and
    ``on_move`` the same when it moves again.
    """

    def __init__(
        self,
        *,
        stall: float,
        on_stall: Callable[[float], None],
        on_move: Callable[[float], None],
        clock: Clock = REAL,
    ) -> None:
        self._clock = clock
        self._stall = stall or math.inf
        self._on_stall = on_stall
        self._on_move = on_move
        self._stalled = False
        self._events: queue.SimpleQueue[WorkerExit | Literal["look"]] = queue.SimpleQueue()
        self._signals: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._moved_at = math.inf
        self._term_at = math.inf
        self._kill_at = math.inf
        self._patience = TERM_TO_KILL_SECONDS
        self.forced: bool = False

    def exited(self, how: WorkerExit) -> None:
        """The worker is gone."""
        self._events.put(how)

    def signal(self, name: str) -> None:
        """Pass a signal on, now or when there is a worker; never waits for one that is stuck."""
        self._signals.put(name)

    def end_within(self, seconds: float, *, then_kill: float = TERM_TO_KILL_SECONDS) -> None:
        """Terminate the worker after that time, and soon after kill it, unless it has ended."""
        with self._lock:
            self._term_at = min(self._term_at, self._clock.now() + seconds)
            self._patience = min(self._patience, then_kill)
        self._events.put(LOOK)

    def moved(self) -> None:
        """There was progress."""
        with self._lock:
            before, self._moved_at = self._moved_at, self._clock.now()
            stalled, self._stalled = self._stalled, False
        if stalled:
            self._on_move(self._moved_at - before)
            self._events.put(LOOK)

    def expect_progress(self, *, expected: bool) -> None:
        """Whether a lack of progress is worth a word: not while paused, nor after the work."""
        with self._lock:
            self._moved_at = self._clock.now() if expected else math.inf
            self._stalled = False
        self._events.put(LOOK)

    def wait(self, worker: Worker, limit: float, on_limit: Callable[[], None]) -> WorkerExit:
        """Wait for the worker's end; ``on_limit`` is called after ``limit`` seconds."""
        threading.Thread(target=self._pass_on, args=(worker,), daemon=True, name="signals").start()
        self.moved()
        limit_at = self._clock.now() + limit
        try:
            while True:
                stall_at = math.inf if self._stalled else self._moved_at + self._stall
                due = min(limit_at, self._term_at, self._kill_at, stall_at)
                event = self._event_by(due)
                if isinstance(event, WorkerExit):
                    return event
                if self._clock.now() >= limit_at:
                    limit_at = math.inf
                    on_limit()
                self._escalate(worker)
        finally:
            self._signals.put(None)

    def _event_by(self, due: float) -> WorkerExit | Literal["look"] | None:
        return self._clock.wait(self._event, due)

    def _event(self, seconds: float) -> WorkerExit | Literal["look"] | None:
        try:
            return self._events.get(timeout=seconds)
        except queue.Empty:
            return None

    def _escalate(self, worker: Worker) -> None:
        now = self._clock.now()
        if now >= self._kill_at:
            self._kill_at = now + TERM_TO_KILL_SECONDS
            worker.kill()
        elif now >= self._term_at:
            self.forced = True
            with self._lock:
                self._term_at, self._kill_at = math.inf, now + self._patience
            worker.terminate()
        with self._lock:
            idle = now - self._moved_at
            told, self._stalled = self._stalled, self._stalled or idle >= self._stall
        if self._stalled and not told:
            self._on_stall(idle)

    def _pass_on(self, worker: Worker) -> None:
        while (name := self._signals.get()) is not None:
            worker.signal(name)
