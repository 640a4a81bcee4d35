"""Plugins whose traces are looked at."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from typing import Any

from opentelemetry import trace

from plugin_framework import DatahubPlugin, PluginConfig, TaskContext
from plugin_framework.telemetry.relay import BEGUN, ENDED

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
            ctx.tell(ENDED, context="nonsense")
        ctx.tell(BEGUN, nothing=None)
        ctx.tell(BEGUN, context=[[], []])
        ctx.tell(BEGUN, context=["0" * 32, "x", 1, ""])
        ctx.tell("span", word="the author's")
        ctx.tell("another", kind="no conflict")
        for number in range(100):
            span = trace.get_tracer("flood").start_span("large")
            span.set_attribute("text", "x" * 100_000)
            span.set_attribute("number", number)
            span.end()
        return {"done": True}


class Forges(DatahubPlugin):
    """Tells of spans that nothing made."""

    def process(self, ctx: TaskContext) -> None:
        facts: dict[str, Any] = {
            "name": "forged",
            "context": ["1" * 32, "2" * 16, 1, ""],
            "parent": None,
            "span_kind": "INTERNAL",
            "start": 1,
            "end": 2,
            "status": "UNSET",
            "description": None,
            "attributes": {"deep": {"none": None}, "large": 10**30},
            "events": [],
            "links": [],
            "scope": None,
        }
        ctx.tell(ENDED, **{**facts, "name": "late", "start": 10**30, "end": 10**30})
        ctx.tell(ENDED, **facts)
        for number in range(1, 200):
            own = ["1" * 32, f"{number:016x}", 1, ""]
            ctx.tell(BEGUN, **{**facts, "name": "begun", "context": own})


class Leaks(DatahubPlugin):
    """Leaves a span of its own by an error that says too much."""

    def process(self, ctx: TaskContext) -> None:
        url = f"https://store.example/o?X-Amz-Signature={SECRET}"
        with (
            suppress(ValueError),
            trace.get_tracer("leaking").start_as_current_span("own", attributes={url: [url]}),
        ):
            raise ValueError(f"403 for url: {url}")


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
