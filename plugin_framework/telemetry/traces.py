"""Spans: one for each attempt at a subtask, hook, transfer and report."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import ProxyTracerProvider, Span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.trace.status import Status, StatusCode

from plugin_framework.errors import TaskCancelled
from plugin_framework.plugin.context import TaskContext
from plugin_framework.plugin.hookspecs import hookimpl
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.settings.opentelemetry import trace_of_the_environment
from plugin_framework.telemetry.attempts import Attempts
from plugin_framework.telemetry.exporting import Exporting
from plugin_framework.telemetry.relay import BEGUN, ENDED, SCOPE, Relay, span_of

log: logging.Logger = logging.getLogger("datahub.telemetry")

MOST_HOOKS = 64
"""Spans of hooks that may be open at once; what more of them are told is left out."""

_W3C = TraceContextTextMapPropagator()

# Of this process: what exports, or what tells the supervisor. One that has the supervisor has both
# halves of the extension, and perhaps several.
_providers: list[TracerProvider] = []


@dataclass
class _Task:
    """The spans of an attempt that have not ended, by what they are about."""

    span: Span
    begun: dict[object, Span] = field(default_factory=dict)
    hooks: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    told_nonsense: bool = False


class Traces:
    """The extension. With ``exporting`` it observes; its wrappers work in either process."""

    def __init__(self, exporting: Exporting | None) -> None:
        self._tasks = Attempts[_Task]()
        if exporting is not None:
            self._exporting = exporting
            self._tracer = exporting.provider.get_tracer(SCOPE)
            _providers[:] = [exporting.provider]

    # In the supervisor

    @hookimpl
    def datahub_attempt_begun(
        self, subtask_id: str, plugin: str, attempt: int
    ) -> Mapping[str, str]:
        """Begin its span; what else is traced of it hangs below."""
        span = self._tracer.start_span(
            f"subtask {plugin}",
            _W3C.extract(trace_of_the_environment()),
            attributes={
                "datahub.subtask_id": subtask_id,
                "datahub.plugin": plugin,
                "datahub.attempt": attempt,
            },
        )
        self._tasks.begin(subtask_id, _Task(span))
        return _carrier(span)

    @hookimpl
    def datahub_attempt_ended(self, subtask_id: str, status: TaskStatus, error: str | None) -> None:
        """End its span, and those below it that a crash or a stop left open."""
        task = self._tasks.end(subtask_id) or _Task(trace.INVALID_SPAN)
        for facts in task.hooks.values():
            ended = {"end": time.time_ns(), "status": "ERROR", "description": "cut short"}
            self._exporting.take(span_of(facts, self._exporting.resource, **ended))
        for span in task.begun.values():
            _end(span, "cut short")
        task.span.set_attribute("datahub.status", status.name.lower())
        _end(task.span, error if status is TaskStatus.FAILED else None)

    @hookimpl
    def datahub_told(self, subtask_id: str, kind: str, facts: Mapping[str, Any]) -> None:
        """Take a span of the plugin's process."""
        if kind not in {BEGUN, ENDED}:
            return
        task = self._of(subtask_id)
        known = {"end": time.time_ns()} if kind == BEGUN else {}
        try:
            span = span_of(facts, self._exporting.resource, **known)
        except Exception as error:  # noqa: BLE001 - a plugin may tell anything
            if not task.told_nonsense:
                what = "its plugin tells of a span that is none"
                log.warning("subtask %s: %s: %s", subtask_id, what, type(error).__name__)
            task.told_nonsense = True
            return
        own = span.context.span_id
        if kind == ENDED:
            task.hooks.pop(own, None)
            self._exporting.take(span)
        elif len(task.hooks) < MOST_HOOKS:
            task.hooks[own] = facts

    @hookimpl
    def datahub_transfer_begun(self, subtask_id: str, direction: str, name: str, at: float) -> None:
        """Begin a span."""
        task = self._of(subtask_id)
        about = {"datahub.transfer.direction": direction, "datahub.transfer.name": name}
        task.begun[direction, name] = self._child(task, f"transfer {direction}", at, about)

    @hookimpl
    def datahub_transfer(self, subtask_id: str, direction: str, name: str, total: int) -> None:
        """Note how large the file is."""
        if span := self._of(subtask_id).begun.get((direction, name)):
            span.set_attribute("datahub.transfer.size", total)

    @hookimpl
    def datahub_transfer_ended(
        self,
        subtask_id: str,
        direction: str,
        name: str,
        at: float,
        parts: int,
        retries: int,
        error: str | None,
    ) -> None:
        """End it."""
        span = self._of(subtask_id).begun.pop((direction, name), trace.INVALID_SPAN)
        span.set_attributes({"datahub.transfer.parts": parts, "datahub.transfer.retries": retries})
        _end(span, error, at)

    @hookimpl
    def datahub_report_tried(
        self,
        subtask_id: str,
        kind: str,
        status: TaskStatus,
        at: float,
        error: str | None,
        again: bool,  # noqa: FBT001 - the hook's
    ) -> None:
        """A span for each report, from its first try to what came of it, the others as events."""
        task = self._of(subtask_id)
        if (kind, status) not in task.begun:
            about = {"datahub.status": status.name.lower()}
            task.begun[kind, status] = self._child(task, f"report {kind}", at, about)
        span = task.begun[kind, status]
        if again:
            span.add_event("failed", {"error.type": error or ""})
        else:
            _end(task.begun.pop((kind, status)), error)

    @hookimpl
    def datahub_stalled(self, subtask_id: str, seconds: float) -> None:
        """Note it."""
        self._of(subtask_id).span.add_event("stalled", {"seconds": seconds})

    @hookimpl
    def datahub_closing(self) -> None:
        """Send what has not been sent."""
        self._exporting.flush()

    def _of(self, subtask_id: str) -> _Task:
        """What is open of its attempt; outside of one, such as for a late word, what is lost."""
        return self._tasks.of(subtask_id) or _Task(trace.INVALID_SPAN)

    def _child(self, task: _Task, name: str, at: float, about: Mapping[str, str]) -> Span:
        if task.span is trace.INVALID_SPAN:
            return task.span
        above = set_span_in_context(task.span)
        return self._tracer.start_span(
            name, above, attributes=dict(about), start_time=int(at * 1e9)
        )

    # Where hooks run: see below


def _around(name: str) -> Callable[..., Generator[None, Any, Any]]:
    @hookimpl(wrapper=True)
    def wrap(self: Traces, ctx: TaskContext[Any]) -> Generator[None, Any, Any]:  # noqa: ARG001 - a method
        if name not in ctx._hooks or not ctx.trace_context:  # noqa: SLF001 - made for this
            return (yield)
        ctx._current_trace = partial(_current, ctx.trace_context)  # noqa: SLF001 - made for this
        with _hook_span(ctx, name):
            return (yield)

    return wrap


for _name in (
    *("on_start", "process", "on_pause", "on_resume"),
    *("on_cancel", "on_success", "on_failure", "on_finish"),
):
    setattr(Traces, _name, _around(_name))


@contextmanager
def _hook_span(ctx: TaskContext[Any], name: str) -> Iterator[None]:
    inner = trace.get_current_span().get_span_context().is_valid  # a pause within process
    with (
        _provider(ctx)
        .get_tracer(SCOPE)
        .start_as_current_span(
            f"hook {name}",
            None if inner else _W3C.extract(ctx.trace_context),
            attributes={"datahub.hook": name},
            record_exception=False,  # its message may hold anything
            set_status_on_exception=False,
        ) as span
    ):
        try:
            yield
        except TaskCancelled:
            span.set_attribute("datahub.cancelled", True)
            raise
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR))
            raise


def _provider(ctx: TaskContext[Any]) -> TracerProvider:
    """Of this process; also for the author's own spans, unless their code has set another up."""
    if not _providers:
        # To find its resource takes a while, and the supervisor gives its own.
        provider = TracerProvider(resource=Resource.get_empty(), shutdown_on_exit=False)
        provider.add_span_processor(Relay(ctx))
        _providers.append(provider)
    if isinstance(trace.get_tracer_provider(), ProxyTracerProvider):
        trace.set_tracer_provider(_providers[0])
    return _providers[0]


def _current(otherwise: Mapping[str, str]) -> Mapping[str, str]:
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return carrier or otherwise


def _carrier(span: Span) -> dict[str, str]:
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, set_span_in_context(span))
    return carrier


def _end(span: Span, error: str | None, at: float | None = None) -> None:
    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR))
    span.end(None if at is None else int(at * 1e9))
