from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from plugin_framework import Field, PluginConfig, TaskContext
from tests.testing.conformance.bad.lines import Lines


class Bad(Lines):
    """Logs the password that it was given."""

    class Config(PluginConfig):
        password: SecretStr = Field(default=SecretStr(""), title="Password")

    def process(self, ctx: TaskContext[Any]) -> Any:
        ctx.log.info("logging in with %s", ctx.config.password.get_secret_value())
        return super().process(ctx)
