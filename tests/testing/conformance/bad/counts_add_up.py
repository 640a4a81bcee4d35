from __future__ import annotations

from typing import Any

from plugin_framework import TaskContext, TaskResult
from tests.testing.conformance.bad.lines import Lines


class Bad(Lines):
    """Counts the header in the total alone."""

    def process(self, ctx: TaskContext[Any]) -> Any:
        lines = super().process(ctx).total_counts
        return TaskResult(total_counts=lines, success_counts=max(lines - 1, 0))
