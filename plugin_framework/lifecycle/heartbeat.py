"""Periodic calls: heartbeats, and asking whether to pause or cancel. By APScheduler."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Protocol

from apscheduler.executors.base import BaseExecutor, run_job
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

LONGEST_GRID = 0.75
"""Seconds: calls that are due within this time of each other are made in a row."""

CREW = 4
"""Threads that make the calls, as long as they get through."""

MOST = 2000
"""Threads at the most: more than there may be subtasks, so that calls that hang delay no other."""

PATIENCE = 0.25
"""Seconds that a call waits for one of them before another thread joins."""

EARLIEST_SHARE = 0.05
"""Of an interval: how soon after the first call the second may be made."""


class MonotonicZone(tzinfo):
    """A time zone in which "now" comes from the monotonic clock.

    APScheduler goes by the wall clock, and a clock set back by an hour would silence every job for
    that hour. Its only source of time is ``datetime.now(timezone)``, so this makes it immune.
    """

    def utcoffset(self, _when: datetime | None) -> timedelta:
        """No offset: within the scheduler this zone is all there is."""
        return timedelta(0)

    def dst(self, _when: datetime | None) -> timedelta:
        """None."""
        return timedelta(0)

    def tzname(self, _when: datetime | None) -> str:
        """A name for logs."""
        return "monotonic"

    def fromutc(self, _when: datetime) -> datetime:
        """Now, whatever the wall clock says."""
        return datetime.fromtimestamp(0, UTC).replace(tzinfo=self) + timedelta(
            seconds=time.monotonic()
        )


def first_share() -> float:
    """How much of an interval passes between the first call and the second, by lot.

    All of the interval is drawn from: half of it would carry all calls for ever, and twice as many,
    of whatever began together.
    """
    return random.uniform(EARLIEST_SHARE, 1)  # noqa: S311 - no secret


def grid_of(seconds: float) -> float:
    """The grid, in seconds of the machine's clock, that calls at such an interval fall on."""
    return min(seconds / 20, LONGEST_GRID)


class _Every(BaseTrigger):  # type: ignore[misc]  # APScheduler ships no types
    """Fires now, and then at an interval in seconds.

    The second time comes early, by lot: what began together is spread over the interval. What is
    due at about the same time fires at once: calls in a row cost less than each alone.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._share = first_share()
        self._first: datetime | None = None

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """The next time; APScheduler's contract."""
        if previous is None:
            self._first = now
            return now
        seconds = self._seconds()
        grid, share = grid_of(seconds), self._share if previous == self._first else 1
        since = previous.replace(tzinfo=UTC).timestamp()
        due = round((since + seconds * share) / grid) * grid
        # Not made from anew: APScheduler would convert it from one zone to another, and lose it.
        return max(previous + timedelta(seconds=due - since), now)


class _Crew(BaseExecutor):  # type: ignore[misc]  # APScheduler ships no types
    """A few threads that make the calls; where calls come to wait, others join, and leave after.

    None delays the exit of the interpreter.
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls: deque[tuple[float, Callable[[], None]]] = deque()
        self._mutex = threading.Lock()
        self._for_members = threading.Condition(self._mutex)
        self._for_overseer = threading.Condition(self._mutex)
        self._members = 0
        self._closed = False
        threading.Thread(target=self._oversee, daemon=True, name="overseer").start()

    def _do_submit_job(self, job: Any, run_times: list[datetime]) -> None:
        def call() -> None:
            # What the call raises is in its events; APScheduler logs it.
            events = run_job(job, job._jobstore_alias, run_times, self._logger.name)  # noqa: SLF001 - as its own executors do
            self._run_job_success(job.id, events)

        with self._mutex:
            self._calls.append((time.monotonic(), call))
            if self._members < CREW:
                self._join()
            self._for_members.notify()
            self._for_overseer.notify()

    def shutdown(self, wait: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 - APScheduler's
        """Make no further call; those under way end by themselves."""
        with self._mutex:
            self._closed = True
            self._calls.clear()
            self._for_members.notify_all()
            self._for_overseer.notify()

    def _join(self) -> None:
        self._members += 1
        threading.Thread(target=self._work, daemon=True, name="tick").start()

    def _work(self) -> None:
        while (call := self._next()) is not None:
            call()

    def _next(self) -> Callable[[], None] | None:
        """The call that has waited longest; None when there is no more need of this thread."""
        with self._mutex:
            self._for_members.wait_for(lambda: self._calls or self._closed or self._members > CREW)
            if not self._calls:
                self._members -= 1
                return None
            return self._calls.popleft()[1]

    def _oversee(self) -> None:
        """Have one more join for each call that has waited too long."""
        while not self._closed:
            with self._mutex:
                self._for_overseer.wait_for(lambda: self._calls or self._closed)
                now = time.monotonic()
                late = sum(at + PATIENCE <= now for at, _ in self._calls)
                for _ in range(min(late, MOST - self._members)):
                    self._join()
            time.sleep(PATIENCE)


class Ticking(Protocol):
    """Makes periodic calls."""

    def start(self, seconds: Callable[[], float], call: Callable[[], object]) -> Tick:
        """Make ``call`` now and every so many seconds, until the tick is stopped."""

    def close(self) -> None:
        """Stop everything."""


class Ticker:
    """One scheduler for all periodic calls of a supervisor.

    A call that is late is made once, not several times, and never beside itself.
    """

    def __init__(self) -> None:
        self._scheduler = BackgroundScheduler(
            timezone=MonotonicZone(),
            executors={"default": _Crew()},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            daemon=True,
        )
        # A call that hangs is reported by its own deadline, not by each turn it misses.
        logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
        self._scheduler.start()

    def start(self, seconds: Callable[[], float], call: Callable[[], object]) -> Tick:
        """Make ``call`` now and every so many seconds, until the tick is stopped.

        The seconds are asked for anew each time.
        """
        tick = Tick(call)
        tick.job = self._scheduler.add_job(tick.run, _Every(seconds))
        return tick

    def close(self) -> None:
        """Stop everything; calls under way end by themselves."""
        self._scheduler.shutdown(wait=False)


class Tick:
    """One periodic call."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._lock = threading.Lock()
        self._stopped = False
        self.job: Any = None  # APScheduler ships no types

    def run(self) -> None:
        """Make the call, unless stopped meanwhile."""
        with self._lock:
            if not self._stopped:
                self._call()

    def stop(self, *, wait: bool = True) -> None:
        """Make no further call. With ``wait``, a call under way has ended when this returns."""
        self._stopped = True
        with suppress(JobLookupError):
            self.job.remove()
        if wait:
            with self._lock:
                return
