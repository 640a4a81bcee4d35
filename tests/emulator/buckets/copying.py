"""A plugin that stores its input again, in parts and as one."""

from __future__ import annotations

from plugin_framework import DatahubPlugin, TaskContext, TaskResult


class Copying(DatahubPlugin):
    """Stores what it was given, and the first byte of it."""

    def process(self, ctx: TaskContext) -> TaskResult:
        source = ctx.download()
        ctx.upload(source, "whole.bin")
        first = ctx.work_dir / "first"
        with source.open("rb") as file:
            first.write_bytes(file.read(1))
        ctx.upload(first, "first <byte>.bin")
        return TaskResult(total_counts=source.stat().st_size, success_counts=1)
