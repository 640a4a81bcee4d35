"""Plugins that the page is tried with."""

from __future__ import annotations

from typing import Any

from plugin_framework import DatahubPlugin, PluginConfig, PluginError, TaskContext


class Breaks(DatahubPlugin):
    """Fails, and says why."""

    class Config(PluginConfig):
        why: str = "no such luck"

    def process(self, ctx: TaskContext[Any]) -> None:
        raise PluginError(ctx.config.why)
