"""Plugins that the tests run."""

# ruff: noqa: T201 - that plugins print is the point

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import warnings
from enum import StrEnum
from typing import Any

from pydantic import ConfigDict

from plugin_framework import (
    DatahubPlugin,
    Field,
    PluginConfig,
    PluginError,
    TaskContext,
    TaskResult,
)

PRESIGNED = "https://storage.example.com/key?X-Amz-Signature=5ec2e7"


class Echo(DatahubPlugin):
    """Copies its input, and prints in every way there is."""

    class Config(PluginConfig):
        word: str = Field("none", title="Word", description="Comes back in the result.")
        times: int = Field(1, ge=1)

    def process(self, ctx: TaskContext[Config]) -> TaskResult:
        self.print_in_every_way(ctx)
        ctx.log.warning("fetched %s", PRESIGNED)
        ctx.log.debug("a detail %d", "that is no number")
        source = ctx.download()
        folder = ctx.output_dir / "deep" / "er"
        folder.mkdir(parents=True)
        (folder / source.name).write_bytes(source.read_bytes())
        (ctx.output_dir / "empty").touch()
        return TaskResult(
            total_counts=1,
            success_counts=1,
            word=ctx.config.word,
            secrets=[name for name in os.environ if name.startswith("DATAHUB_API")],
        )

    @staticmethod
    def print_in_every_way(ctx: TaskContext[Any]) -> None:
        print("printed by print")
        print("printed to __stdout__", file=sys.__stdout__, flush=True)
        print("printed to stderr", file=sys.stderr)
        os.write(1, b"printed by write\n")
        subprocess.run(["echo", "printed by a child"], check=True)
        ctx.run(["echo", "printed by ctx.run"])
        library = ctypes.CDLL(None)
        library.puts(b"printed by C")
        library.fflush(None)


class EchoThread(Echo):
    """Echo in a thread."""

    isolation = "thread"

    def process(self, ctx: TaskContext[Echo.Config]) -> TaskResult:
        warnings.warn("printed by warnings", stacklevel=1)
        thread = threading.Thread(target=self.fail)
        thread.start()
        thread.join()
        return super().process(ctx)

    @staticmethod
    def fail() -> None:
        raise ValueError(f"printed by threading, {PRESIGNED}")


class Fails(DatahubPlugin):
    """Fails with a message for people, half a surrogate pair in it."""

    def process(self, ctx: TaskContext[Any]) -> None:
        (ctx.output_dir / "unfinished").touch()
        raise PluginError(f"half a \ud800 pair, {PRESIGNED}")


class Raises(DatahubPlugin):
    def process(self, ctx: TaskContext[Any]) -> None:
        raise ValueError(f"a bug at {PRESIGNED}")


class RaisesThread(Raises):
    isolation = "thread"


class Waits(DatahubPlugin):
    """Says that it has started, and waits to be stopped."""

    def process(self, ctx: TaskContext[Any]) -> None:
        print("started", flush=True)
        never = threading.Event()
        while not never.wait(0.02):
            ctx.checkpoint()


HOSTILE_NAMES = [
    "../../evil",
    "/absolute",
    "a/../../b",
    "..",
    "back\\..\\slash",
    "bell\x07",
    "é" * 300,
    "[/red]",
    "target",
]


class HostileNames(DatahubPlugin):
    """Uploads under names that would be elsewhere as paths; the last is a folder already."""

    def process(self, ctx: TaskContext[Any]) -> None:
        path = ctx.work_dir / "file"
        path.write_text("evil")
        for name in HOSTILE_NAMES:
            ctx.upload(path, name)


class Shown(DatahubPlugin):
    """Something to look at on a terminal."""

    def process(self, ctx: TaskContext[Any]) -> None:
        ctx.download()
        print("printed in color \x1b[31m")
        ctx.log.info("a step [/bold] is done")
        ctx.progress(50)
        with (ctx.output_dir / "[red]output").open("wb") as file:
            file.truncate(32 * 2**20)


class NoSchema(DatahubPlugin):
    """Its config cannot be described."""

    class Config(PluginConfig):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        event: threading.Event

    def process(self, ctx: TaskContext[Config]) -> None:
        """Do nothing."""


class Choice(StrEnum):
    one = "one"


class Inner(PluginConfig):
    size: int = 1


class ManyTypes(DatahubPlugin):
    """Its config has types that its schema does not name in one word."""

    class Config(PluginConfig):
        number: int | None = None
        either: int | str | None = None
        choice: Choice | None = None
        inner: Inner | None = None
        whatever: Any = None

    def process(self, ctx: TaskContext[Config]) -> None:
        """Do nothing."""


class NotAPlugin:
    """A class like any other."""
