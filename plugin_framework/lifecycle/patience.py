"""Repeating a call whose waiting can be cut short, as the client's own cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from plugin_framework.errors import RetryableError
from plugin_framework.lifecycle.clock import REAL, Clock
from plugin_framework.protocol.backoff import Backoff

T = TypeVar("T")


def persist(
    attempt: Callable[[], T],
    patience: float,
    ended: Callable[[float], bool],
    clock: Clock = REAL,
) -> T:
    """Make attempts until one succeeds, fails for good, or patience (seconds) runs out.

    ``ended`` waits for at most so many seconds of the clock, and says whether to give up.
    """
    backoff = Backoff(patience, clock.now)
    while True:
        try:
            return attempt()
        except RetryableError as error:
            delay = backoff(error)
            if delay is False or ended(delay):
                raise
