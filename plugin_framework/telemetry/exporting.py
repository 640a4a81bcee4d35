"""Where spans go: as OpenTelemetry's own variables say."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

from plugin_framework.errors import DatahubError
from plugin_framework.settings.opentelemetry import otlp_protocol

GROUP = "opentelemetry_traces_exporter"
SERVICE = "datahub-plugin"
"""The service's name, where neither OTEL_SERVICE_NAME nor OTEL_RESOURCE_ATTRIBUTES gives one."""

_OTLP = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}


class NoExporterError(DatahubError):
    """An exporter that is asked for is not installed, or cannot be made."""


class Exporting:
    """The provider of this process, and what takes spans that were made elsewhere."""

    def __init__(self, names: Sequence[str]) -> None:
        self.resource: Resource = _resource()
        # It is flushed when the supervisor closes: to wait for a collector at exit may take long.
        self.provider: TracerProvider = TracerProvider(
            resource=self.resource, shutdown_on_exit=False
        )
        self._processors = [BatchSpanProcessor(_exporter(name)) for name in names]
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
    for each in names:
        for point in entry_points(group=GROUP, name=each):
            try:
                exporter: SpanExporter = point.load()()
            except Exception as error:
                raise NoExporterError(
                    f"the exporter {each} cannot be made: {type(error).__name__}"
                ) from error
            return exporter
    package = f"opentelemetry-exporter-{names[0].replace('_', '-')}"
    raise NoExporterError(f"the exporter {name} is not installed: pip install {package}")
