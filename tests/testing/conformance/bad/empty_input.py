from __future__ import annotations

from typing import Any

from plugin_framework import TaskContext, TaskResult
from tests.testing.conformance.bad.lines import Lines


class Bad(Lines):
    """Divides by the number of lines."""

    def process(self, ctx: TaskContext[Any]) -> Any:
        lines = super().process(ctx).total_counts
        length = ctx.download().stat().st_size / lines
        return TaskResult(total_counts=lines, success_counts=lines, length=length)
