"""What log lines say of the subtask that they are about."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from plugin_framework.plugin.hookspecs import hookimpl


class LogFacts:
    """An extension that observes: ``by_subtask`` has the attempt, and its trace if it has one."""

    def __init__(self) -> None:
        self.by_subtask: dict[str, Mapping[str, Any]] = {}

    @hookimpl(wrapper=True)
    def datahub_attempt_begun(self, subtask_id: str, attempt: int) -> Generator[None, Any, Any]:
        """Around the others, which say of what trace it is."""
        traces = yield
        facts: dict[str, Any] = {"attempt": attempt}
        for each in traces:
            _, facts["trace_id"], facts["span_id"], *_ = each["traceparent"].split("-")
        self.by_subtask[subtask_id] = facts
        return traces

    @hookimpl
    def datahub_attempt_ended(self, subtask_id: str) -> None:
        """There is no more to say."""
        self.by_subtask.pop(subtask_id, None)
