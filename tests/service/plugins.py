"""Plugins that the service is tried with."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, field_validator

from plugin_framework import DatahubPlugin, Field, PluginConfig, TaskContext, TaskResult


class Counts(DatahubPlugin):
    """Is over at once."""

    version = "1.2.3"

    class Config(PluginConfig):
        size: int = Field(1, ge=1)
        colour: Literal["red", "green"] = "red"

    def process(self, ctx: TaskContext[Any]) -> TaskResult:
        return TaskResult(total_counts=ctx.config.size, attempt=ctx.attempt)


class Anything(DatahubPlugin):
    """Takes any config, is over at once, and takes payments."""

    class Config(PluginConfig):
        model_config = ConfigDict(extra="allow")

    def process(self, ctx: TaskContext[Any]) -> TaskResult:
        return TaskResult(given=ctx.config.model_extra)

    def on_payment(self, tx_hash: str, subtask_id: str) -> bool:
        if tx_hash == "crash":
            raise RuntimeError("a payment that breaks it")
        return tx_hash.startswith("0x") and subtask_id != "unpaid"


class Talks(DatahubPlugin):
    """Has a great deal to say about every config."""

    class Config(PluginConfig):
        words: int = 0

        @field_validator("words")
        @classmethod
        def never(cls, words: int) -> int:
            raise ValueError("no" * 1_000_000)

    def process(self, ctx: TaskContext[Any]) -> None:
        """Never called."""


class Waits(DatahubPlugin):
    """Checks in until ``until`` exists; notes that it runs in the folder of that."""

    class Config(PluginConfig):
        until: str
        pause: float = 0.01

    def process(self, ctx: TaskContext[Any]) -> TaskResult:
        until = Path(ctx.config.until)
        with (until.parent / "order").open("a") as order:
            order.write(f"{ctx.subtask_id}\n")
        while not until.exists():
            ctx.checkpoint()
            time.sleep(ctx.config.pause)  # between two looks
        return TaskResult(attempt=ctx.attempt)


class OtherWaits(Waits):
    """The same, of another name."""


class Hangs(DatahubPlugin):
    """Never checks in; appends to the file ``note`` when it begins."""

    class Config(PluginConfig):
        note: str = ""

    def process(self, ctx: TaskContext[Any]) -> None:
        if ctx.config.note:
            with Path(ctx.config.note).open("a") as order:
                order.write(f"{ctx.subtask_id}\n")
        while True:
            pass
