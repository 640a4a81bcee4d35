"""An attempt's writes to the shared store, which may be away for a while."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TypeVar

from plugin_framework.engines.cluster.holding import RETRY_SECONDS, Gate
from plugin_framework.errors import JournalError, LeaseLostError, StoreUnreachableError

T = TypeVar("T")


class Writes:
    """One attempt's writes to the store; they outlast it being away for a while.

    Raises:
        JournalError: by each, when the lease is lost, or the store stays away for too long.
    """

    def __init__(self, gate: Gate, patience: float) -> None:
        self._gate = gate
        self._patience = patience
        self._until = math.inf

    def hurry(self, seconds: float) -> None:
        """Have nothing wait longer than this from now."""
        self._until = min(self._until, time.monotonic() + seconds)

    def once(self, write: Callable[[], T]) -> T:
        """Write, and wait for nothing."""
        return self._write(write, 0)

    def patiently(self, write: Callable[[], T]) -> T:
        """Write, however often that takes: the author's work must not fail by an outage."""
        return self._write(write, self._patience)

    def _write(self, write: Callable[[], T], patience: float) -> T:
        until = time.monotonic() + patience
        while True:
            try:
                return write()
            except LeaseLostError as error:
                self._gate.lose()
                raise JournalError(str(error), code=error.code) from None
            except StoreUnreachableError as error:
                left = min(until, self._until) - time.monotonic()
                if left <= 0 or self._gate.lost.wait(min(RETRY_SECONDS, left)):
                    raise JournalError(str(error), code=error.code) from None
