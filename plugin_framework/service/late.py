"""What a service needs and cannot have yet, tried again for as long as it is missing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from plugin_framework.errors import DatahubError, Problem, problem_of

RETRY_SECONDS = 1.0
"""Between two times that it is made."""


class Closed(Protocol):
    """What is closed at the end."""

    def close(self) -> None:
        """Close it."""


Thing = TypeVar("Thing", bound=Closed)


class Late(Generic[Thing]):
    """Something to be made, for several threads: by ``make``, which may fail with DatahubError."""

    def __init__(self, make: Callable[[], Thing]) -> None:
        self._make = make
        self._made: Thing | None = None
        self._failed: DatahubError | None = None
        self._again_at = 0.0
        self._lock = threading.Lock()

    def get(self) -> Thing:
        """The thing.

        Raises:
            DatahubError: it cannot be made now.
        """
        with self._lock:
            if self._made is None:
                self._try()
            if self._made is None:
                assert self._failed is not None
                raise self._failed
            return self._made

    def close(self) -> None:
        """Close it, if there is one."""
        with self._lock:
            if self._made is not None:
                self._made.close()

    def _try(self) -> None:
        if time.monotonic() < self._again_at:
            return
        try:
            self._made = self._make()
            self._failed = None
        except DatahubError as error:
            self._failed = error
        self._again_at = time.monotonic() + RETRY_SECONDS


def line_of(error: DatahubError) -> Problem:
    """An error as one line."""
    return problem_of(error, "; ".join(str(error).splitlines()))
