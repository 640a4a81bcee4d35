"""A plugin that does as much as it is told to: what a deployment is measured with."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from pydantic import Field

from plugin_framework.errors import PluginError
from plugin_framework.plugin.base import DatahubPlugin, PluginConfig, TaskResult
from plugin_framework.plugin.context import TaskContext

_BLOCK = 1024 * 1024
_STEP_SECONDS = 0.2


class Synthetic(DatahubPlugin):
    """Reads its input, works for some seconds, and leaves an output."""

    class Config(PluginConfig):
        """``heartbeats`` are how often the work says how far it is; sending them is the host's."""

        seconds: float = Field(1, ge=0, le=86_400, title="Seconds of work")
        input_bytes: int = Field(0, ge=0, title="Bytes of input", description="0: none is read.")
        output_bytes: int = Field(0, ge=0, title="Bytes of output", description="0: none is left.")
        heartbeats: int = Field(
            10, ge=1, le=100, title="Heartbeats", description="Times that progress is reported."
        )

    def process(self, ctx: TaskContext[Config]) -> TaskResult:
        """Do it."""
        config = ctx.config
        if config.input_bytes:
            size = ctx.download().stat().st_size
            if size != config.input_bytes:
                raise PluginError(f"the input has {size} bytes, and not {config.input_bytes}")
        for _ in ctx.track(range(config.heartbeats)):
            _work(ctx, config.seconds / config.heartbeats)
        if config.output_bytes:
            _write(ctx.output_dir / "output.bin", config.output_bytes)
        return TaskResult(total_counts=1, success_counts=1)


def _work(ctx: TaskContext[Synthetic.Config], seconds: float) -> None:
    """Wait, as work that waits for something else does; a pause or cancel takes hold meanwhile."""
    end = time.monotonic() + seconds
    nobody = threading.Event()
    while (left := end - time.monotonic()) > 0:
        nobody.wait(min(left, _STEP_SECONDS))
        ctx.checkpoint()


def _write(path: Path, size: int) -> None:
    block = os.urandom(_BLOCK)  # nothing on the way can make it smaller
    with path.open("wb") as file:
        for written in range(0, size, _BLOCK):
            file.write(block[: size - written])
