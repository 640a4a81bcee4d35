"""Plugins whose traces are looked at."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from opentelemetry import trace

from plugin_framework import DatahubPlugin, PluginConfig, TaskContext

SECRET = "canary-8e2f"


class Counts(DatahubPlugin):
    """Has spans of its own, and runs a command within one."""

    def on_start(self, ctx: TaskContext) -> None:
        ctx.download()

    def process(self, ctx: TaskContext) -> dict[str, Any]:
        with trace.get_tracer("counting").start_as_current_span("count") as span:
            span.set_attribute("words", 3)
            span.add_event("counted", {"so": "far"})
            told = ctx.run(["printenv", "TRACEPARENT"], capture_output=True, text=True)
        (ctx.output_dir / "words.txt").write_text("three words here")
        ctx.log.info("counted")
        return {"seen": told.stdout.strip(), "task": ctx.trace_context["traceparent"]}


class AsyncCounts(DatahubPlugin):
    """The same, where hooks are async."""

    async def on_start(self, ctx: TaskContext) -> None:
        with trace.get_tracer("counting").start_as_current_span("prepare"):
            pass

    async def process(self, ctx: TaskContext) -> None:
        with trace.get_tracer("counting").start_as_current_span("count"):
            pass


class Segfaults(DatahubPlugin):
    """Dies within a hook."""

    def process(self, ctx: TaskContext) -> None:
        ctx.download()
        ctypes.string_at(0)


class Refuses(DatahubPlugin):
    """Raises something that says too much."""

    def process(self, ctx: TaskContext) -> None:
        raise ValueError(f"https://store.example/o?X-Amz-Signature={SECRET}")


class Floods(DatahubPlugin):
    """Tells what nobody can take, and more than anybody."""

    def process(self, ctx: TaskContext) -> dict[str, Any]:
        for _ in range(2_000):
            ctx.tell("span", context="nonsense")
        ctx.tell("span begun", nothing=None)
        ctx.tell("another", kind="no conflict")
        for number in range(100):
            span = trace.get_tracer("flood").start_span("large")
            span.set_attribute("text", "x" * 100_000)
            span.set_attribute("number", number)
            span.end()
        return {"done": True}


class WaitConfig(PluginConfig):
    forever: bool = True


class Waits(DatahubPlugin):
    """Runs until it is ended; at a later attempt, not."""

    Config = WaitConfig

    def process(self, ctx: TaskContext) -> None:
        ctx.log.info("waiting")
        while ctx.attempt == 1:
            ctx.checkpoint()


class Looks(DatahubPlugin):
    """Says which libraries are in its process."""

    def process(self, ctx: TaskContext) -> dict[str, Any]:
        names = ("opentelemetry", "prometheus_client")
        return {"found": [name for name in sys.modules if name.partition(".")[0] in names]}
