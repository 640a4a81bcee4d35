"""Plugins that the measurements run."""

from __future__ import annotations

import ctypes
import shutil
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
