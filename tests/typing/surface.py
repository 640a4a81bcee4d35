"""Checked by mypy, never run: what authors write must need no cast and no ignore."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_type

from plugin_framework import (
    DatahubPlugin,
    PluginConfig,
    TaskContext,
    TaskOutcome,
    TaskResult,
    TaskStatus,
    UploadedFile,
    hookimpl,
    run_local,
    run_task,
)


class Plain(DatahubPlugin):
    """A context without a parameter is complete."""

    def process(self, ctx: TaskContext) -> TaskResult:
        assert_type(ctx.download(), Path)
        assert_type(ctx.upload("file"), UploadedFile)
        with ctx.open_output("table.csv", size=5) as file:
            assert_type(file.write(b"a,b\r\n"), int)
        return TaskResult(total_counts=1, extra="field")


class Typed(DatahubPlugin):
    """With one, the config has its type."""

    class Config(PluginConfig):
        """A number."""

        number: int = 1

    async def on_start(self, ctx: TaskContext[Config]) -> None:
        assert_type(ctx.config.number, int)

    async def process(self, ctx: TaskContext[Config]) -> Mapping[str, Any]:
        for item in ctx.track(["a", "b"]):
            assert_type(item, str)
        return {"total_counts": 2}

    def on_finish(self, ctx: TaskContext[Config], status: TaskStatus) -> None:
        assert_type(status.is_final, bool)


class Extension:
    """Extensions need no base class."""

    @hookimpl
    def datahub_progress(self, percent: int) -> None:
        """Observe."""


def programmatic() -> None:
    assert_type(run_task(Plain, subtask_id="s"), TaskOutcome)
    assert_type(run_local(Typed, input="file", out="folder").status, TaskStatus)
