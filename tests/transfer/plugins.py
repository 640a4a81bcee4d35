"""Plugins that read their input in place, or are paused while it is fetched."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from plugin_framework import DatahubPlugin, PluginConfig, TaskContext, TaskResult
from plugin_framework.errors import ObjectChangedError

MIB = 1024 * 1024


class ReadsInPlace(DatahubPlugin):
    """Reads a little from the middle and the end of its input, then all that follows the middle."""

    def process(self, ctx: TaskContext[Any]) -> TaskResult:
        with ctx.open_input() as file:
            file.seek(-5, 2)
            end = file.read()
            file.seek(20 * MIB)
            digest = hashlib.sha256()
            for piece in iter(lambda: file.read(100_000), b""):
                digest.update(piece)
            return TaskResult(end=end.hex(), digest=digest.hexdigest())


class Folder(PluginConfig):
    """``folder`` is where the plugin says that it has begun, and waits to be let go on."""

    folder: str


class ReadsWhatChanges(DatahubPlugin):
    """Has read a little of its input when it is replaced."""

    Config = Folder

    def process(self, ctx: TaskContext[Folder]) -> TaskResult:
        folder = Path(ctx.config.folder)
        with ctx.open_input() as file:
            begin = file.read(5)
            (folder / "started").touch()
            while not (folder / "go").exists():
                ctx.checkpoint()
            file.seek(20 * MIB)
            try:
                file.read(5)
            except ObjectChangedError as error:
                return TaskResult(begin=begin.hex(), said=str(error))
        return TaskResult()


class ReadsForEver(DatahubPlugin):
    """Reads its input again and again."""

    def process(self, ctx: TaskContext[Any]) -> None:
        with ctx.open_input() as file:
            while True:
                file.seek(0)
                file.read()


class Fetches(DatahubPlugin):
    """Downloads its input; stores a file in each hook of a pause."""

    def process(self, ctx: TaskContext[Any]) -> TaskResult:
        return TaskResult(size=ctx.download().stat().st_size)

    def on_pause(self, ctx: TaskContext[Any]) -> None:
        self._store(ctx, "paused")

    def on_resume(self, ctx: TaskContext[Any]) -> None:
        self._store(ctx, "resumed")

    def _store(self, ctx: TaskContext[Any], name: str) -> None:
        path = ctx.work_dir / name
        path.write_text(name)
        ctx.upload(path)
