"""What is kept of attempts until observers hear of their end."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Attempts(Generic[T]):
    """Of each attempt something, by subtask. Several threads may use it.

    That an attempt begins is said at once, and all else is queued: where observers lag, the next
    attempt has begun before they hear of the end of the one before. So what they hear is about
    the oldest that has not ended.
    """

    def __init__(self) -> None:
        self._open: dict[str, deque[T]] = {}
        self._lock = threading.Lock()

    def begin(self, subtask_id: str, kept: T) -> None:
        """Keep that of another attempt."""
        with self._lock:
            self._open.setdefault(subtask_id, deque()).append(kept)

    def of(self, subtask_id: str) -> T | None:
        """What is kept of the oldest; None outside of one, such as for a late word."""
        with self._lock:
            found = self._open.get(subtask_id)
            return found[0] if found else None

    def end(self, subtask_id: str) -> T | None:
        """The same, and keep it no longer."""
        with self._lock:
            found = self._open.get(subtask_id)
            if not found:
                return None
            kept = found.popleft()
            if not found:
                del self._open[subtask_id]
            return kept
