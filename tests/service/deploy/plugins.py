"""Plugins that leave processes behind."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from plugin_framework import DatahubPlugin, TaskContext, TaskResult

# A grandchild in a session of its own, which outlives the child that started it.
LEAVES = (
    "import subprocess, sys; subprocess.Popen([sys.executable, '-c', {!r}], start_new_session=True)"
)


class Leaves(DatahubPlugin):
    """Starts processes that nobody waits for: some end by themselves, one would not."""

    def process(self, ctx: TaskContext[Any]) -> TaskResult:
        for life in ("pass", "pass", "import time; time.sleep(600)"):
            subprocess.run([sys.executable, "-c", LEAVES.format(life)], check=True)
        return TaskResult(total_counts=3)
