"""Where spans go: as OpenTelemetry's own variables say."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.metadata import entry_points

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

from plugin_framework.errors import Code, DatahubError, Problem
from plugin_framework.protocol.userinfo import is_read_whole
from plugin_framework.settings.opentelemetry import otlp_endpoint, otlp_protocol, unusable_headers
from plugin_framework.telemetry.cleaning import Cleaned

log: logging.Logger = logging.getLogger("datahub.telemetry")

GROUP = "opentelemetry_traces_exporter"
SERVICE = "datahub-plugin"
"""The service's name, where neither OTEL_SERVICE_NAME nor OTEL_RESOURCE_ATTRIBUTES gives one."""

_OTLP = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_PACKAGES = {*_OTLP.values(), "zipkin"}
"""Exporters of OpenTelemetry's own; their packages are named after them."""


class NoExporterError(DatahubError):
    """An exporter that is asked for is not installed, or cannot be made."""

    code = Code.EXTRA_MISSING


class Exporting:
    """The provider of this process, and what takes spans that were made elsewhere."""

    def __init__(self, names: Sequence[str]) -> None:
        # What parses the headers of exporters logs those that it cannot use, credentials and all.
        logging.getLogger("opentelemetry.util.re").addFilter(_without_header)
        self.resource: Resource = _resource()
        # It is flushed when the supervisor closes: to wait for a collector at exit may take long.
        self.provider: TracerProvider = TracerProvider(
            resource=self.resource, shutdown_on_exit=False
        )
        self._processors = [BatchSpanProcessor(Cleaned(_exporter(name))) for name in names]
        for processor in self._processors:
            self.provider.add_span_processor(processor)

    def take(self, span: ReadableSpan) -> None:
        """Export a span that has ended."""
        for processor in self._processors:
            processor.on_end(span)

    def flush(self) -> None:
        """Export what waits."""
        for processor in self._processors:
            processor.force_flush()


def _without_header(_: logging.LogRecord) -> bool:
    what = "OTEL_EXPORTER_OTLP_HEADERS: what is not NAME=VALUE, with commas between, is left out"
    log.warning("%s", Problem(what, Code.SETTING_WRONG))
    return False


def _resource() -> Resource:
    found = Resource.create()
    named = str(found.attributes.get(SERVICE_NAME, ""))
    return found.merge(Resource({SERVICE_NAME: SERVICE})) if "unknown_service" in named else found


def _exporter(name: str) -> SpanExporter:
    if name == "console":
        return ConsoleSpanExporter(formatter=lambda span: span.to_json(indent=None) + "\n")
    # A collector is spoken to as the variables say, else in the way that is installed.
    asked = _OTLP.get(otlp_protocol())
    names = [name] if name != "otlp" else [asked] if asked else [*_OTLP.values()]
    points = [point for each in names for point in entry_points(group=GROUP, name=each)]
    if not points:
        raise NoExporterError(_missing(name, names[0]))
    point = points[0]
    _refuse_endpoint(point.name)
    _refuse_headers()
    try:
        exporter: SpanExporter = point.load()()
    except Exception as error:
        raise NoExporterError(
            f"the exporter {point.name} cannot be made: {type(error).__name__}"
        ) from error
    return exporter


def _refuse_endpoint(exporter: str) -> None:
    """Refuse what an exporter would log with the credentials in it, on each attempt."""
    endpoint = otlp_endpoint()
    if not endpoint or exporter not in _OTLP.values():
        return
    if exporter == _OTLP["grpc"]:  # which has no use for a user name, and takes bare hosts
        fine, expected = "@" not in endpoint, "no user name and password"
    else:
        fine = endpoint.startswith(("http://", "https://")) and is_read_whole(endpoint)
        expected = "http:// or https://, and a password with @ as %40, / as %2F"
    if not fine:
        raise NoExporterError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT: expected {expected}", code=Code.SETTING_WRONG
        )


def _refuse_headers() -> None:
    """Refuse what no header can hold: clients show it in their errors."""
    for name in unusable_headers():
        raise NoExporterError(f"{name}: expected printable ASCII", code=Code.SETTING_WRONG)


def _missing(name: str, spelt_out: str) -> str:
    """What to do; of a name that nobody knows not what to install: anybody may publish that."""
    if spelt_out in _PACKAGES:
        package = f"opentelemetry-exporter-{spelt_out.replace('_', '-')}"
        return f"the exporter {name} is not installed: pip install {package}"
    known = {"console", "otlp", *_PACKAGES, *(point.name for point in entry_points(group=GROUP))}
    near = get_close_matches(name.lower(), sorted(known), n=1)
    return f"no exporter {name!r} is installed" + (f": did you mean {near[0]}?" if near else "")
