"""Plugins that the measurements run."""

from __future__ import annotations

import ctypes
import shutil
import threading
from typing import Any

from plugin_framework import DatahubPlugin, Field, PluginConfig, TaskContext


class Nothing(DatahubPlugin):
    """Returns at once."""

    def process(self, ctx: TaskContext[Any]) -> None:
        """Do nothing."""


class Copy(DatahubPlugin):
    """Uploads its input."""

    def process(self, ctx: TaskContext[Any]) -> None:
        """Fetch the input and leave it as an output."""
        shutil.move(ctx.download(), ctx.output_dir / "copy.bin")


class HoldGil(DatahubPlugin):
    """Holds the interpreter's lock in C, so that no other Python thread of its process runs."""

    class Config(PluginConfig):
        """How long to hold it."""

        seconds: int = Field(60, ge=1, title="Seconds")

    def process(self, ctx: TaskContext[Any]) -> None:
        """Sleep in C; ``PyDLL`` calls keep the lock."""
        ctypes.PyDLL(None).sleep(ctx.config.seconds)


class Wait(DatahubPlugin):
    """Waits, in a thread of the supervisor, until all are told to end."""

    waiting = 0
    over = threading.Event()
    _lock = threading.Lock()

    def process(self, ctx: TaskContext[Any]) -> None:
        """Wait."""
        with self._lock:
            Wait.waiting += 1
        while not self.over.wait(30):
            ctx.checkpoint()


class SmallFiles(DatahubPlugin):
    """Leaves ``files`` files, or uploads each by hand."""

    class Config(PluginConfig):
        """``size`` in bytes."""

        files: int
        size: int
        by_hand: bool

    def process(self, ctx: TaskContext[Config]) -> None:
        """Make the files."""
        data = bytes(ctx.config.size)
        folder = ctx.work_dir if ctx.config.by_hand else ctx.output_dir
        for number in range(ctx.config.files):
            path = folder / f"{number:04}.bin"
            path.write_bytes(data)
            if ctx.config.by_hand:
                ctx.upload(path)
