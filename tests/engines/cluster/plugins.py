"""Plugins whose subtasks go on at another node. Processes of their own import them from here."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plugin_framework import DatahubPlugin, PluginConfig, TaskContext
from plugin_framework.protocol.models import TaskStatus


class Travels(DatahubPlugin):
    """Goes on until ``go`` appears in its node's state folder, and says what it found."""

    class Config(PluginConfig):
        saves: bool = True

    def process(self, ctx: TaskContext[Config]) -> Mapping[str, Any]:
        folder = ctx.work_dir.parent.parent
        found = {"state": dict(ctx.state), "new": ctx.work_dir_is_new, "attempt": ctx.attempt}
        found["files"] = sorted(path.name for path in ctx.work_dir.glob("of-*"))
        (ctx.work_dir / f"of-{ctx.attempt}").touch()
        if ctx.config.saves:
            ctx.save_state(attempts=[*ctx.state.get("attempts", []), ctx.attempt])
        ctx.progress(50 / ctx.attempt)
        started = folder / "started"
        started.write_text(f"{started.read_text() if started.exists() else ''}{ctx.attempt} ")
        while not (folder / "go").exists():
            ctx.checkpoint()
            threading.Event().wait(0.02)
        return found

    def on_cancel(self, ctx: TaskContext[Config]) -> None:
        self._note(ctx.work_dir, "cancel")

    def on_failure(self, ctx: TaskContext[Config], error: BaseException) -> None:
        self._note(ctx.work_dir, "failure")

    def on_finish(self, ctx: TaskContext[Config], status: TaskStatus) -> None:
        self._note(ctx.work_dir, f"finish {int(status)}")

    @staticmethod
    def _note(work_dir: Path, what: str) -> None:
        with (work_dir.parent.parent / "hooks").open("a") as file:
            file.write(f"{what}\n")


class Picky(DatahubPlugin):
    """Has a config that not all configs are."""

    class Config(PluginConfig):
        number: int

    def process(self, ctx: TaskContext[Config]) -> None:
        """Nothing."""
