"""When a call is made again: jitter, Retry-After, patience, and asking before repeating."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import stamina

from plugin_framework.errors import RejectedError, RetryableError

T = TypeVar("T")

_FIRST_DELAY = 0.5
_LONGEST_DELAY = 30.0
_DOUBLINGS = 6  # after which the longest delay is reached; 2**n would overflow in the end

_log = logging.getLogger("datahub.client")


class Backoff:
    """Decides, as stamina's backoff hook, whether and how long to wait after an error.

    ``patience`` is in seconds from ``now``, by a clock that never goes back. A wait never outlasts
    it: our own is cut short for a last attempt, and where the server asks for a longer one we give
    up. Our own counts from the start of the attempt: one that hung has waited already, and Datahub
    may be back since.
    """

    def __init__(self, patience: float, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._began = now()
        self._gives_up_at = self._began + patience
        self._retries = 0

    def __call__(self, error: Exception) -> bool | float:
        """Return the seconds to wait, or False to let the error through."""
        now = self._now()
        left = self._gives_up_at - now
        if not isinstance(error, RetryableError) or left <= 0:
            return False
        asked = error.retry_after or 0.0
        if asked > left:
            return False
        # Whoever is told the same moment must not come back in the same moment.
        later = asked + random.uniform(0, min(asked, _LONGEST_DELAY))  # noqa: S311 - as below
        delay = min(max(later, self._own(now - self._began)), left)
        self._began = now + delay
        _log.info("%s; trying again in %.1f s", error, delay)
        return delay

    def _own(self, spent: float) -> float:
        delay = self._jitter()
        return delay - max(spent, 0.0) if spent < delay else random.uniform(0, _FIRST_DELAY)  # noqa: S311 - as below

    def _jitter(self) -> float:
        """Full jitter at first; half of it once delays grow no more.

        By then full jitter spreads no better, and ten minutes of outage could cost 60 calls.
        """
        longest = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(self._retries, _DOUBLINGS))
        shortest = longest / 2 if longest == _LONGEST_DELAY else 0
        self._retries += 1
        return random.uniform(shortest, longest)  # noqa: S311 - spreads load, guards nothing


def with_patience(attempt: Callable[[], T], patience: float) -> T:
    """Call ``attempt`` until it succeeds, fails for good, or patience (seconds) runs out."""
    for context in stamina.retry_context(on=Backoff(patience), attempts=None, timeout=None):
        with context:
            return attempt()
    raise AssertionError("stamina ended without an outcome")


class AskFirst(Generic[T]):
    """An attempt that is not repeated blindly: after an unknown outcome ``applied`` is asked.

    Asking that fails counts as an attempt, and the next one sends: a server in trouble gets one
    request at a time, and one that cannot tell still gets what we have to say. Once in doubt,
    always in doubt: no later failure tells what became of the first request, and an answer of
    "not applied" may have come before the server was done. ``in_doubt`` says that there was such a
    request before the first attempt.
    """

    def __init__(
        self, send: Callable[[], T], applied: Callable[[], bool], *, in_doubt: bool = False
    ) -> None:
        self._send = send
        self._applied = applied
        self._in_doubt = in_doubt
        self._asked_in_vain = False

    def __call__(self) -> T | None:
        """Make one attempt; None where an earlier one turns out to have been applied."""
        try:
            return None if self._was_applied() else self._sent_or_applied()
        except RetryableError as error:
            self._in_doubt = error.unknown_outcome = self._in_doubt or error.unknown_outcome
            raise

    def _was_applied(self) -> bool:
        if not self._in_doubt or self._asked_in_vain:
            self._asked_in_vain = False
            return False
        self._asked_in_vain = True
        applied = self._applied()
        self._asked_in_vain = False
        return applied

    def _sent_or_applied(self) -> T | None:
        try:
            return self._send()
        except RejectedError:
            # A second request can be refused for the very reason that the first was applied.
            if self._in_doubt and self._applied():
                return None
            raise
