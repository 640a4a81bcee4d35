"""Plugins to run."""

from __future__ import annotations

import asyncio
from typing import Any

from plugin_framework import DatahubPlugin, PluginConfig, PluginError, TaskContext, TaskResult


class Config(PluginConfig):
    """What a task is told."""

    least: int = 1


class Words(DatahubPlugin[Config]):
    """Counts the words of a text, and stores them in order."""

    def process(self, ctx: TaskContext[Config]) -> TaskResult:
        """Raise PluginError where there are none."""
        text = ctx.download().read_text(encoding="utf-8")
        words = sorted(word for word in text.split() if len(word) >= ctx.config.least)
        if not words:
            raise PluginError("no words")
        for number, _ in enumerate(ctx.track(words), 1):
            ctx.save_state({"words": number})
        (ctx.output_dir / "words.txt").write_text("\n".join(words), encoding="utf-8")
        return TaskResult(total_counts=len(words))


class LaterWords(DatahubPlugin):
    """A hook that waits, with what it is given in a file beside its output."""

    async def process(self, ctx: TaskContext) -> TaskResult:
        """Wait, and count."""
        await asyncio.sleep(0.01)
        async with asyncio.timeout(10):
            text = await asyncio.to_thread(ctx.download().read_bytes)
        return TaskResult(total_counts=len(text.split()))


class DeepResult(DatahubPlugin):
    """What it returns is not to be written as JSON by every version of Python."""

    def process(self, ctx: TaskContext) -> dict[str, Any]:
        """Return lists in lists."""
        deep: list[Any] = []
        for _ in range(len(ctx.download().read_bytes())):
            deep = [deep]
        return {"deep": deep}
