"""Spans of the plugin's process: told to the supervisor, which exports them.

So it needs no network and no credentials there, and a span that a crash cut short is not lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from plugin_framework.plugin.context import TaskContext

BEGUN, ENDED = "otel:span begun", "otel:span"
"""What is told: of a hook's span both, of the author's own that they have ended."""

SCOPE = "plugin_framework"
"""Names the spans that are the framework's."""


class Relay(SpanProcessor):
    """Tells the supervisor of the spans of one task."""

    def __init__(self, ctx: TaskContext[Any]) -> None:
        self._tell = ctx.tell

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 - the contract
        """One has begun; the SDK's contract."""
        if span.instrumentation_scope and span.instrumentation_scope.name == SCOPE:
            self._say(BEGUN, span)

    def on_end(self, span: ReadableSpan) -> None:
        """One has ended; the SDK's contract."""
        self._say(ENDED, span)

    def _say(self, kind: str, span: ReadableSpan) -> None:
        # One that is too large, or comes when the supervisor is gone, must not fail the author.
        with suppress(Exception):
            self._tell(kind, **as_json(span))


def as_json(span: ReadableSpan) -> dict[str, Any]:
    """All of a span but its resource."""
    scope = span.instrumentation_scope
    own = span.get_span_context()
    assert own is not None
    return {
        "name": span.name,
        "context": _context_json(own),
        "parent": _context_json(span.parent) if span.parent else None,
        "span_kind": span.kind.name,
        "start": span.start_time,
        "end": span.end_time,
        "status": span.status.status_code.name,
        "description": span.status.description,
        "attributes": dict(span.attributes or {}),
        "events": [[one.name, one.timestamp, dict(one.attributes or {})] for one in span.events],
        "links": [[_context_json(one.context), dict(one.attributes or {})] for one in span.links],
        "scope": [scope.name, scope.version] if scope else None,
    }


def span_of(facts: Mapping[str, Any], resource: Resource, **known: Any) -> ReadableSpan:
    """The span that ``as_json`` told, with what is ``known`` instead.

    Raises:
        Exception: it is none. Facts come from plugins, and may be anything.
    """
    facts = {**facts, **known}
    status = StatusCode[facts["status"]]
    scope, scope_version = facts["scope"] or ("", None)
    return ReadableSpan(
        name=str(facts["name"]),
        context=_context_of(facts["context"]),
        parent=_context_of(facts["parent"]) if facts["parent"] else None,
        resource=resource,
        attributes=dict(facts["attributes"]),
        events=[Event(str(name), dict(of), nanoseconds(at)) for name, at, of in facts["events"]],
        links=[Link(_context_of(one), dict(of)) for one, of in facts["links"]],
        kind=SpanKind[facts["span_kind"]],
        status=Status(status, facts["description"] if status is StatusCode.ERROR else None),
        start_time=nanoseconds(facts["start"]),
        end_time=nanoseconds(facts["end"]),
        instrumentation_scope=InstrumentationScope(
            str(scope), scope_version and str(scope_version)
        ),
    )


def nanoseconds(given: Any) -> int:
    """A time since 1970 that can be exported.

    Raises:
        ValueError: it is none.
    """
    if not (isinstance(given, int) and 0 <= given < 2**63):
        raise ValueError("no time")
    return given


def _context_json(context: SpanContext) -> list[Any]:
    state = context.trace_state.to_header()
    return [f"{context.trace_id:032x}", f"{context.span_id:016x}", int(context.trace_flags), state]


def _context_of(given: list[Any]) -> SpanContext:
    trace_id, span_id, flags, state = given
    context = SpanContext(
        int(trace_id, 16),
        int(span_id, 16),
        is_remote=False,
        trace_flags=TraceFlags(int(flags) & 0xFF),
        trace_state=TraceState.from_header([state]),
    )
    if not context.is_valid:
        raise ValueError("no span's context")
    return context
