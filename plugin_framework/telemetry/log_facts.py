"""What log lines say of the subtask that they are about."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Generator, Mapping
from typing import Any

from plugin_framework.plugin.hookspecs import hookimpl


class LogFacts:
    """An extension that observes: ``by_subtask`` has the attempt, and its trace if it has one.

    It is the newest attempt, for lines are written at once: its predecessor's end may be heard of
    after it has begun.
    """

    def __init__(self) -> None:
        self.by_subtask: dict[str, Mapping[str, Any]] = {}
        self._open = Counter[str]()
        self._lock = threading.Lock()

    @hookimpl(wrapper=True)
    def datahub_attempt_begun(self, subtask_id: str, attempt: int) -> Generator[None, Any, Any]:
        """Around the others, which say of what trace it is."""
        traces = yield
        facts: dict[str, Any] = {"attempt": attempt}
        for each in traces:
            _, facts["trace_id"], facts["span_id"], *_ = each["traceparent"].split("-")
        with self._lock:
            self._open[subtask_id] += 1
            self.by_subtask[subtask_id] = facts
        return traces

    @hookimpl
    def datahub_attempt_ended(self, subtask_id: str) -> None:
        """There is no more to say, unless the next has begun."""
        with self._lock:
            self._open[subtask_id] -= 1
            if self._open[subtask_id] < 1:
                del self._open[subtask_id]
                self.by_subtask.pop(subtask_id, None)
