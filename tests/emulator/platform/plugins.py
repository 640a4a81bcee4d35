"""Plugins that the emulator drives through a service of ours."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from plugin_framework import DatahubPlugin, PluginConfig, PluginError, TaskContext, TaskResult


class Shouts(DatahubPlugin):
    """Makes an upper-case copy of its input, when ``until`` exists."""

    version = "3.2.1"

    class Config(PluginConfig):
        until: str | None = None
        fail: bool = False

    def process(self, ctx: TaskContext[Any]) -> TaskResult:
        text = ctx.download().read_bytes()
        ctx.progress(40)
        until = Path(ctx.config.until) if ctx.config.until else None
        while until is not None and not until.exists():
            ctx.checkpoint()
            time.sleep(0.02)  # between two looks
        if ctx.config.fail:
            raise PluginError("as it was asked")
        (ctx.output_dir / "shouted.txt").write_bytes(text.upper())
        return TaskResult(total_counts=len(text))


class Whispers(Shouts):
    """The same, of another name."""
