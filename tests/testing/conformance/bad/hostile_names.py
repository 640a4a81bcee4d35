from __future__ import annotations

import subprocess
from typing import Any

from plugin_framework import TaskContext
from tests.testing.conformance.bad.lines import Lines


class Bad(Lines):
    """Puts the file's name into a command."""

    def process(self, ctx: TaskContext[Any]) -> Any:
        subprocess.run(f"wc -l {ctx.download()}", shell=True, check=True, capture_output=True)
        return super().process(ctx)
