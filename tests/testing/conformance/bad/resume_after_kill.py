from __future__ import annotations

from typing import Any

from plugin_framework import TaskContext
from tests.testing.conformance.bad.lines import Lines


class Bad(Lines):
    """Makes a folder, and does not expect it to be there."""

    def process(self, ctx: TaskContext[Any]) -> Any:
        (ctx.work_dir / "parts").mkdir()
        return super().process(ctx)
