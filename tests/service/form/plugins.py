"""A plugin that says what it was given."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from pydantic import SecretStr

from plugin_framework import DatahubPlugin, Field, PluginConfig, TaskContext, TaskResult


class Area(PluginConfig):
    country: str
    radius: float = 10


class Says(DatahubPlugin):
    """Says what it was given."""

    class Config(PluginConfig):
        keyword: str
        count: int = Field(20, ge=1)
        size: Literal["small", "large"] = "small"
        fast: bool = False
        since: dt.date
        tags: list[str] = Field([])
        limits: dict[str, int] = Field({})
        area: Area | None = None
        token: SecretStr

    def process(self, ctx: TaskContext[Any]) -> TaskResult:
        given = ctx.config.model_dump(mode="json", exclude={"token"})
        return TaskResult(given=given, token_length=len(ctx.config.token.get_secret_value()))
