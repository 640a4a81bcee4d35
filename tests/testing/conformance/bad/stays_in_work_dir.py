from __future__ import annotations

from pathlib import Path
from typing import Any

from plugin_framework import TaskContext
from tests.testing.conformance.bad.lines import Lines


class Bad(Lines):
    """Leaves its notes wherever it was started."""

    def process(self, ctx: TaskContext[Any]) -> Any:
        Path("notes.txt").write_text("a note\n")
        return super().process(ctx)
