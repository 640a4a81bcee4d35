"""Plugins that fill the disk under the journal while they run."""

from __future__ import annotations

import errno
import resource
import threading
from pathlib import Path
from typing import Any

from plugin_framework import DatahubPlugin, TaskContext, TaskResult


class FillsTheDisk(DatahubPlugin):
    """Writes until nothing fits any more, and then says that all went well."""

    def process(self, ctx: TaskContext[Any]) -> TaskResult:
        size = 2**16
        with self.filler(ctx).open("wb", buffering=0) as file:
            while size:
                try:
                    file.write(b"\0" * size)
                except OSError as error:
                    assert error.errno == errno.ENOSPC  # noqa: PT017 - no test
                    size //= 2
        return TaskResult(total_counts=1, text="x" * 20_000)

    def filler(self, ctx: TaskContext[Any]) -> Path:
        return ctx.work_dir / "filler"


class FillsTheDiskElsewhere(FillsTheDisk):
    """As somebody else would: not in the folder that goes with the task."""

    def filler(self, ctx: TaskContext[Any]) -> Path:
        return ctx.work_dir.parent.parent / "filler"


class MayNotWrite(DatahubPlugin):
    """Has the kernel refuse every write of its process to a file, and says that all went well."""

    isolation = "thread"

    def process(self, ctx: TaskContext[Any]) -> TaskResult:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        return TaskResult(total_counts=1)


class Waits(DatahubPlugin):
    """Works until ``go`` appears in the state folder, and puts ``over`` beside it."""

    isolation = "thread"

    def process(self, ctx: TaskContext[Any]) -> TaskResult:
        go = ctx.work_dir.parent.parent / "go"
        while not go.exists():
            ctx.checkpoint()
            threading.Event().wait(0.01)
        go.with_name("over").touch()
        return TaskResult(total_counts=1)
