"""A clock that stands still until a test moves it on."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from plugin_framework.lifecycle.heartbeat import Tick

T = TypeVar("T")

SLICE_SECONDS = 0.005
"""Real seconds between two looks at the clock by those that wait."""

PATIENCE_SECONDS = 10.0
"""Real seconds that what is due may take."""


class Clock:
    """The time of runs: heartbeats, polls, pauses between tries, time limits, stall and grace.

    It begins at 0, and moves by ``advance`` alone. Transfers and the plugin's own code go by the
    real time.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._changed = threading.Condition()
        self._waiting: dict[object, float] = {}
        self._tickers: list[ManualTicker] = []

    def __repr__(self) -> str:
        return f"<Clock at {self._now:g} s>"

    def now(self) -> float:
        """Seconds since it was made."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let so much time pass at once.

        Heartbeats and polls that fall into it are made one after the other, each at its time, and
        are over when this returns; whoever waited for a moment in it has been woken.

        Raises:
            ValueError: the time is negative.
        """
        if seconds < 0:
            raise ValueError("time does not go back")
        end = self._now + seconds
        while due := [job for ticker in self._tickers for job in ticker.due_by(end)]:
            first = min(due, key=lambda job: job.due)
            self._move(first.due)
            first.make()
        self._move(end)

    def advance_until(
        self, done: Callable[[], object], *, step: float = 1.0, timeout: float = 30
    ) -> None:
        """Let time pass, ``step`` by step, until ``done`` returns something true.

        That is for what takes several waits, such as tries with pauses between them.

        Raises:
            TimeoutError: it has not after ``timeout`` real seconds.
        """
        give_up_at = time.monotonic() + timeout
        while not done():
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"what is waited for did not come about: {self!r}")
            self.advance(step)
            threading.Event().wait(SLICE_SECONDS)

    def wait(self, wait: Callable[[float], T], until: float) -> T:
        """See lifecycle.clock.Clock."""
        with self._waits_until(until):
            while True:
                found = wait(SLICE_SECONDS)
                if found or self._now >= until:
                    return found

    def ticker(self) -> ManualTicker:
        """What makes the periodic calls of one run."""
        ticker = ManualTicker(self)
        self._tickers.append(ticker)
        return ticker

    def forget(self, ticker: ManualTicker) -> None:
        """The run is over."""
        self._tickers.remove(ticker)

    @contextmanager
    def _waits_until(self, moment: float) -> Iterator[None]:
        key = object()
        with self._changed:
            self._waiting[key] = moment
        try:
            yield
        finally:
            with self._changed:
                del self._waiting[key]
                self._changed.notify_all()

    def _move(self, moment: float) -> None:
        with self._changed:
            self._now = max(self._now, moment)
            woken = [key for key, due in self._waiting.items() if due <= self._now]
            self._changed.wait_for(
                lambda: not any(key in self._waiting for key in woken), PATIENCE_SECONDS
            )


class ManualTicker:
    """Periodic calls by such a clock, made in a thread of their own, one after the other."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._jobs: list[Job] = []
        self._calls: queue.SimpleQueue[tuple[Callable[[], object], threading.Event] | None]
        self._calls = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True, name="ticks").start()

    def start(self, seconds: Callable[[], float], call: Callable[[], object]) -> Tick:
        """See lifecycle.heartbeat.Ticking; the first call is made at once."""
        tick = Tick(call)
        tick.job = job = Job(self, tick, seconds)
        self._jobs.append(job)
        job.begin()
        return tick

    def drop(self, job: Job) -> None:
        """Make this call no more."""
        with suppress(ValueError):
            self._jobs.remove(job)

    def due_by(self, moment: float) -> list[Job]:
        """What is to be made by then."""
        return [job for job in list(self._jobs) if job.due <= moment]

    def close(self) -> None:
        """Make no further call."""
        self._jobs.clear()
        self.clock.forget(self)
        self._calls.put(None)

    def make(self, call: Callable[[], object]) -> threading.Event:
        """Have a call made, after those before it; set once it has been."""
        made = threading.Event()
        self._calls.put((call, made))
        return made

    def _work(self) -> None:
        while (entry := self._calls.get()) is not None:
            call, made = entry
            call()
            made.set()


class Job:
    """A tick that is due at some time of the clock, again and again."""

    def __init__(self, ticker: ManualTicker, tick: Tick, seconds: Callable[[], float]) -> None:
        self._ticker = ticker
        self._tick = tick
        self._seconds = seconds
        self.due: float = ticker.clock.now()

    def make(self) -> None:
        """Make the call, and wait for it."""
        self.begin().wait(PATIENCE_SECONDS)

    def begin(self) -> threading.Event:
        """Make the call, and be due again."""
        self.due += max(self._seconds(), SLICE_SECONDS)
        return self._ticker.make(self._tick.run)

    def remove(self) -> None:
        """Be due no more."""
        self._ticker.drop(self)
