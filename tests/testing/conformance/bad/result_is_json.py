from __future__ import annotations

from typing import Any

from plugin_framework import TaskContext
from tests.testing.conformance.bad.lines import Lines


class Bad(Lines):
    """Returns a set, which JSON does not know."""

    def process(self, ctx: TaskContext[Any]) -> Any:
        result = super().process(ctx)
        return {**result.model_dump(), "kinds": {"text"}} if result.total_counts else result
