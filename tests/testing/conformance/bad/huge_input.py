from __future__ import annotations

from typing import Any

from plugin_framework import TaskContext
from tests.testing.conformance.bad.lines import Lines

LIMIT = 6 * 1024 * 1024


class Bad(Lines):
    """Cannot take large inputs, and says so to nobody but itself."""

    def process(self, ctx: TaskContext[Any]) -> Any:
        size = ctx.download().stat().st_size
        if size > LIMIT:
            raise OverflowError(size)
        return super().process(ctx)
