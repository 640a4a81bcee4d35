"""The soak's plugins, with faults: in a thread they leak, and one kind leaves a wrong byte."""

from __future__ import annotations

import os
import sys
from typing import Any

from benchmarks.soaking import work
from plugin_framework import TaskContext

HANDLES = 40


class Works(work.Works):
    def do_copy(self, ctx: TaskContext[Any]) -> None:
        (ctx.output_dir / "out.bin").write_bytes(ctx.download().read_bytes()[::-1] + b"!")


class Threads(work.Threads):
    def note(self, ctx: TaskContext[Any], pid: int) -> None:
        for _ in range(HANDLES):
            os.open(sys.executable, os.O_RDONLY)
