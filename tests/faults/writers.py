"""Plugins that leave many files, or write outputs that are stored meanwhile."""

from __future__ import annotations

import gc
import io
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from plugin_framework import DatahubPlugin, PluginConfig, TaskContext
from plugin_framework.errors import TransferError

MIB = 2**20
PART = 5 * MIB


def state_dir(ctx: TaskContext[Any]) -> Path:
    return ctx.work_dir.parent.parent


def wait_for(file: Path) -> None:
    for _ in range(3000):
        if file.exists():
            return
        threading.Event().wait(0.02)
    raise TimeoutError(file)


class Many(DatahubPlugin):
    """Leaves ``files`` files of ``size`` bytes, an empty one among them."""

    class Config(PluginConfig):
        files: int = 200
        size: int = 1000

    def process(self, ctx: TaskContext[Config]) -> None:
        for number in range(ctx.config.files):
            data = f"{number:06}".encode() * (ctx.config.size // 6)
            (ctx.output_dir / f"file-{number:04}").write_bytes(data if number else b"")


class ByHand(DatahubPlugin):
    """Stores a file in its first attempt, and dies; leaves another in its second."""

    def process(self, ctx: TaskContext[Any]) -> None:
        if ctx.attempt == 1:
            (ctx.work_dir / "by hand").write_text("by hand")
            ctx.upload(ctx.work_dir / "by hand")
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        (ctx.output_dir / "left").write_text("left")


class Writes(DatahubPlugin):
    """Writes 12 MiB and a bit to an output, and waits for ``go`` after 6 MiB."""

    class Config(PluginConfig):
        sized: bool = True
        way: Literal["close", "raise", "forget", "leave", "short", "die", "large"] = "close"

    def process(self, ctx: TaskContext[Config]) -> Any:
        way = ctx.config.way
        size = 12 * MIB + 7
        data = bytes(range(256)) * (6 * MIB // 256)
        file = ctx.open_output("deep/out.bin", size if ctx.config.sized else None)
        if way == "forget":
            file.write(b"forgotten")
            return None
        with file:
            file.write(data)
            file.flush()
            (state_dir(ctx) / "written").touch()
            wait_for(state_dir(ctx) / "go")
            if way == "raise":
                raise ValueError("in the middle")
            if way == "die" and ctx.attempt == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            if way == "short":
                return None
            file.write(data + b"the end" + (b"!" if way == "large" else b""))
        return {"files": sorted(str(path) for path in ctx.work_dir.rglob("*") if path.is_file())}


CONTENT = bytes(range(256)) * (12 * MIB // 256) + b"the end"


class Held(DatahubPlugin):
    """Writes a part of an output, and waits at checkpoints."""

    def process(self, ctx: TaskContext[Any]) -> None:
        file = ctx.open_output("held", 12 * MIB)
        file.write(bytes(6 * MIB))
        file.flush()
        (state_dir(ctx) / "pid").write_text(str(os.getpid()))
        while True:
            ctx.checkpoint()
            threading.Event().wait(0.02)


class Closes(DatahubPlugin):
    """Closes a small output of a known size, or leaves it by an exception once ``go`` is there."""

    class Config(PluginConfig):
        way: Literal["close", "raise"] = "close"

    def process(self, ctx: TaskContext[Config]) -> None:
        with suppress(ValueError), ctx.open_output("small", 3) as file:
            file.write(b"abc")
            if ctx.config.way == "raise":
                wait_for(state_dir(ctx) / "go")
                raise ValueError("in the middle")
        (state_dir(ctx) / "left").touch()
        wait_for(state_dir(ctx) / "end")


class SameName(DatahubPlugin):
    """Opens an output, uploads another file of its name, and says what came of that."""

    def process(self, ctx: TaskContext[Any]) -> dict[str, str]:
        other = ctx.work_dir / "other"
        other.write_bytes(b"other")
        error = ""
        with ctx.open_output("same", 4) as file:
            file.write(b"same")
            try:
                ctx.upload(other, "same")
            except TransferError as refusal:
                error = str(refusal)
        return {"error": error}


class Forgets(DatahubPlugin):
    """Forgets a text file around an output, half written."""

    def process(self, ctx: TaskContext[Any]) -> None:
        def write() -> None:
            io.TextIOWrapper(ctx.open_output("half.csv"), encoding="utf-8").write("a row\n")
            raise ValueError("in the middle")

        with suppress(ValueError):
            write()
        gc.collect()


class InPlace(DatahubPlugin):
    """Writes over the start of an output, by its descriptor."""

    def process(self, ctx: TaskContext[Any]) -> None:
        with ctx.open_output("table", 6 * MIB) as file:
            file.write(bytes(6 * MIB - 6))
            file.flush()
            os.pwrite(file.fileno(), b"header", 0)
            file.write(bytes(6))
