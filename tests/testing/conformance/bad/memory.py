from __future__ import annotations

import threading
from typing import Any

from plugin_framework import TaskContext, TaskResult
from tests.testing.conformance.bad.lines import Lines

HELD_SECONDS = 0.3


class Bad(Lines):
    """Reads the input whole."""

    def process(self, ctx: TaskContext[Any]) -> Any:
        content = ctx.download().read_bytes()
        result = super().process(ctx)
        threading.Event().wait(HELD_SECONDS)  # as long as real work takes
        return TaskResult(**result.model_dump(), size=len(content))
