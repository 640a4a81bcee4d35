"""What of a span leaves the process: no credentials, and nothing that an encoder breaks at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Link
from opentelemetry.trace.status import Status

from plugin_framework.redaction import redacted
from plugin_framework.telemetry.relay import nanoseconds


class Cleaned(SpanExporter):
    """An exporter that is given the spans cleaned, on the thread that exports."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Those that can be exported; the SDK's contract."""
        return self._inner.export(list(_cleaned(spans)))

    def shutdown(self) -> None:
        """No more comes; the SDK's contract."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Send what waits; the SDK's contract."""
        return self._inner.force_flush(timeout_millis)


def _cleaned(spans: Iterable[ReadableSpan]) -> Iterable[ReadableSpan]:
    for span in spans:
        # One that cannot be exported must not take the others along.
        with suppress(Exception):
            yield _clean(span)


def _clean(span: ReadableSpan) -> ReadableSpan:
    status = span.status
    about = None if status.description is None else _text(status.description)
    return ReadableSpan(
        name=_text(span.name),
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes=_attributes(span.attributes),
        events=[
            Event(_text(one.name), _attributes(one.attributes), nanoseconds(one.timestamp))
            for one in span.events
        ],
        links=[Link(one.context, _attributes(one.attributes)) for one in span.links],
        kind=span.kind,
        status=Status(status.status_code, about),
        start_time=nanoseconds(span.start_time),
        end_time=nanoseconds(span.end_time),
        instrumentation_scope=span.instrumentation_scope,
    )


def _attributes(given: Mapping[str, Any] | None) -> dict[str, Any]:
    return {_text(name): _value(value) for name, value in (given or {}).items()}


def _value(given: Any) -> Any:
    """What an attribute may be; a number of more than 64 bits, and whatever else, as text."""
    if isinstance(given, bool | float) or (isinstance(given, int) and -(2**63) <= given < 2**63):
        return given
    if isinstance(given, list | tuple):
        return [_value(one) for one in given]
    if isinstance(given, Mapping):
        return _attributes(given)
    return _text(given)


def _text(given: object) -> str:
    """Without credentials, and without lone surrogates."""
    return redacted(str(given)).encode(errors="replace").decode()
