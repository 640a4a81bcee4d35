"""Plugins that keep the letter of a rule, and not what it is for."""

from __future__ import annotations

import subprocess
import threading
from typing import Any

from pydantic import BaseModel, Field, SecretStr, field_validator

from plugin_framework import PluginConfig, PluginError, TaskContext, TaskResult
from tests.testing.conformance.bad.lines import BLOCK, Lines


class StopsAtForty(Lines):
    """Says that it is at 40 %, and is done."""

    def process(self, ctx: TaskContext[Any]) -> Any:
        for percent in (10, 40):
            ctx.progress(percent)
        return TaskResult()


class TellsTheEnd(Lines):
    """Says how far it is when it is over."""

    def process(self, ctx: TaskContext[Any]) -> Any:
        with ctx.download().open("rb") as file:
            while file.read(BLOCK):
                ctx.checkpoint()
        ctx.progress(100)
        return TaskResult()


class HoldsHalf(Lines):
    """Keeps half of every block of its input."""

    def process(self, ctx: TaskContext[Any]) -> Any:
        with ctx.download().open("rb") as file:
            kept = [block[: BLOCK // 2] for block in iter(lambda: file.read(BLOCK), b"")]
        threading.Event().wait(0.2)  # as long as real work takes
        return TaskResult(kept=len(kept))


class FillsABuffer(Lines):
    """Keeps the first twelve MiB of its input."""

    def process(self, ctx: TaskContext[Any]) -> Any:
        with ctx.download().open("rb") as file:
            kept = file.read(12 * 1024 * 1024)
        threading.Event().wait(0.2)  # as long as real work takes
        return TaskResult(kept=len(kept))


class Writes(Lines):
    """Has a program write where it is told to."""

    class Config(PluginConfig):
        command: str = Field(title="The command")

    def process(self, ctx: TaskContext[Config]) -> Any:
        subprocess.run(["sh", "-c", ctx.config.command], check=True)
        return super().process(ctx)


class Login(BaseModel):
    """How to log in."""

    user: str = Field(default="me", title="User")
    password: SecretStr = Field(title="Password")


class TellsWhatIsWithin(Lines):
    """Logs the secrets of a model in its config, or of a list there."""

    class Config(PluginConfig):
        login: Login | None = Field(default=None, title="Login")
        keys: list[SecretStr] = Field(default=[], title="Keys")
        default: SecretStr = Field(default=SecretStr("s3cret-default"), title="Default")
        tells: str = Field(default="nothing", title="What it tells")

    def process(self, ctx: TaskContext[Config]) -> Any:
        config = ctx.config
        if config.tells == "login" and config.login:
            ctx.log.info("as %s", config.login.password.get_secret_value())
        if config.tells == "keys":
            ctx.log.info("by %s", [key.get_secret_value() for key in config.keys])
        if config.tells == "default":
            ctx.log.info("by %s", config.default.get_secret_value())
        if config.tells == "refusal" and config.login and not ctx.download().stat().st_size:
            raise PluginError(f"nothing for {config.login.password.get_secret_value()}")
        return super().process(ctx)


class TakesNoneOfOurs(Lines):
    """Has a secret that is to be of a form of its own."""

    class Config(PluginConfig):
        password: SecretStr = Field(default=SecretStr(""), title="Password")

        @field_validator("password")
        @classmethod
        def short(cls, value: SecretStr) -> SecretStr:
            """Four digits."""
            if len(value.get_secret_value()) > 4:
                raise ValueError("expected four digits")
            return value


class SeldomLooks(Lines):
    """Works for long from one checkpoint to the next."""

    def process(self, ctx: TaskContext[Any]) -> Any:
        ctx.checkpoint()
        threading.Event().wait(2)
        return super().process(ctx)


class MiscountsNothing(Lines):
    """Takes an empty input for one line."""

    def process(self, ctx: TaskContext[Any]) -> Any:
        lines = super().process(ctx).total_counts
        return TaskResult(total_counts=lines or 1, success_counts=lines)


class NamesNoField(Lines):
    """Leaves it to the form what its fields are called."""

    class Config(PluginConfig):
        login: Login | None = Field(default=None, title="Login")
        least: int = 0
