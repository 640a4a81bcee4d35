from __future__ import annotations

from typing import Any

from plugin_framework import TaskContext, TaskResult
from tests.testing.conformance.bad.lines import BLOCK, Lines


class Bad(Lines):
    """Never says how far it is."""

    def process(self, ctx: TaskContext[Any]) -> Any:
        lines = 0
        with ctx.download().open("rb") as file:
            while block := file.read(BLOCK):
                ctx.checkpoint()
                lines += block.count(b"\n")
        return TaskResult(total_counts=lines, success_counts=lines)
