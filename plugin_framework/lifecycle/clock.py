"""The time that a run goes by: heartbeats, deadlines and pauses between tries are of this clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """A clock that never goes back, and how to wait by it. For use by many threads."""

    def now(self) -> float:
        """Seconds since some moment."""

    def wait(self, wait: Callable[[float], T], until: float) -> T:
        """What ``wait`` returns, called so that it waits ``until`` that moment at the most.

        It is the wait of an event, a condition or the like; what it returns is true where that came
        about. It may be called several times, as long as it has not.
        """


class RealClock:
    """The machine's."""

    def now(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    def wait(self, wait: Callable[[float], T], until: float) -> T:
        """See Clock."""
        return wait(min(max(until - time.monotonic(), 0), threading.TIMEOUT_MAX))


REAL = RealClock()
