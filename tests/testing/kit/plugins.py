"""Plugins that the kit's tests run."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

from plugin_framework import DatahubPlugin, PluginConfig, PluginError, TaskContext, TaskResult


class Lines(DatahubPlugin):
    """Counts the lines of a text, from where an attempt before this one was."""

    class Config(PluginConfig):
        """``fail`` is the number of a line that it fails at."""

        fail: int = 0

    def process(self, ctx: TaskContext[Config]) -> TaskResult:
        lines = ctx.download().read_text().splitlines()
        ctx.checkpoint("after-download")
        done = ctx.state.get("done", 0)
        for number, line in enumerate(ctx.track(lines[done:]), done + 1):
            if number == ctx.config.fail:
                raise PluginError(f"line {number} cannot be read")
            ctx.log.info("line %s", line)
            ctx.save_state(done=number)
        (ctx.output_dir / "counts").mkdir(exist_ok=True)
        (ctx.output_dir / "counts" / "lines.txt").write_text(str(len(lines)))
        return TaskResult(total_counts=len(lines), success_counts=len(lines))


class AsyncLines(DatahubPlugin):
    """The same, with coroutines."""

    async def process(self, ctx: TaskContext) -> TaskResult:
        await asyncio.sleep(0)
        ctx.checkpoint("here")
        return TaskResult(total_counts=1)


class Waits(DatahubPlugin):
    """Works until it is stopped, and never ends by itself."""

    def process(self, ctx: TaskContext) -> None:
        print("it waits")  # noqa: T201 - what is printed is logged
        while True:
            ctx.checkpoint()
            threading.Event().wait(0.005)


class Deaf(DatahubPlugin):
    """Comes to no checkpoint until the file ``go`` is in its folder."""

    def process(self, ctx: TaskContext) -> None:
        ctx.checkpoint("deaf")
        while not (ctx.work_dir / "go").exists():
            threading.Event().wait(0.005)


class Frozen(Waits):
    """Is paused wherever it is."""

    pause_mode = "freeze"


class Idle(DatahubPlugin):
    """Has nothing to do."""

    def process(self, ctx: TaskContext) -> None: ...


class Hooks(DatahubPlugin):
    """Says which of its hooks are called."""

    def on_start(self, ctx: TaskContext) -> None:
        ctx.log.info("start %d", os.getpid())
        ctx.checkpoint("in-start")

    def process(self, ctx: TaskContext) -> dict[str, Any]:
        ctx.checkpoint("work")
        return {"environment": os.environ.get("DATAHUB_API_SECRET")}

    def on_pause(self, ctx: TaskContext) -> None:
        ctx.log.warning("pause")

    def on_resume(self, ctx: TaskContext) -> None:
        ctx.log.info("resume")

    def on_cancel(self, ctx: TaskContext) -> None:
        ctx.log.info("cancel")
