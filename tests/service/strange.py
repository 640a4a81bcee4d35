"""A plugin whose validation of configs, and of payments, is not to be relied on."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import model_validator

from plugin_framework import DatahubPlugin, PluginConfig, TaskContext

HOUR = 3600


def _interrupt() -> None:
    raise KeyboardInterrupt


WAYS: dict[str, Callable[[], object]] = {
    "interrupt": _interrupt,
    "exit": lambda: os._exit(3),
    "abort": lambda: os.kill(os.getpid(), signal.SIGABRT),
    "segfault": lambda: ctypes.string_at(0),
}


class Strange(DatahubPlugin):
    """Is over at once, or when the file ``until`` exists."""

    class Config(PluginConfig):
        until: str = ""
        hang: str = ""
        way: str = ""

        @model_validator(mode="after")
        def _strange(self) -> Strange.Config:
            if self.hang:
                Path(self.hang).touch()
                time.sleep(HOUR)
            if self.way:
                WAYS[self.way]()
            return self

    def process(self, ctx: TaskContext[Any]) -> None:
        while ctx.config.until and not Path(ctx.config.until).exists():
            ctx.checkpoint()
            time.sleep(0.01)  # between two looks

    def on_payment(self, tx_hash: str, subtask_id: str) -> bool:
        time.sleep(HOUR)
        return True
