from __future__ import annotations

from typing import Any

from plugin_framework import TaskContext, TaskResult
from tests.testing.conformance.bad.lines import BLOCK, Lines


class Bad(Lines):
    """Adds to the output that is there, and after a kill does so from the beginning."""

    def process(self, ctx: TaskContext[Any]) -> Any:
        path, sizes = ctx.download(), ctx.work_dir / "sizes.txt"
        size, done, lines = path.stat().st_size, 0, 0
        with path.open("rb") as file, sizes.open("a", buffering=1) as output:
            while block := file.read(BLOCK):
                ctx.checkpoint()
                lines += block.count(b"\n")
                done += len(block)
                output.write(f"{len(block)} bytes\n")
                ctx.progress(100 * done / size)
        ctx.upload(sizes)
        return TaskResult(total_counts=lines, success_counts=lines)
