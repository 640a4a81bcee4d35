from __future__ import annotations

from typing import Any

from plugin_framework import TaskContext, TaskResult
from tests.testing.conformance.bad.lines import Lines


class Bad(Lines):
    """Reads the input whole."""

    def process(self, ctx: TaskContext[Any]) -> Any:
        content = ctx.download().read_bytes()
        result = super().process(ctx)
        return TaskResult(**result.model_dump(), size=len(content))
