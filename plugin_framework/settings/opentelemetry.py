"""OpenTelemetry's own variables, as far as they say whether there is anything to set up."""

import os
import re
from urllib.parse import unquote

SECRETS = frozenset(
    f"OTEL_EXPORTER_OTLP_{signal}HEADERS" for signal in ("", "TRACES_", "METRICS_", "LOGS_")
)
"""Variables that hold credentials of a collector."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def trace_exporters() -> tuple[str, ...]:
    """The exporters that the environment asks for, by their names; none: nothing is traced.

    They are asked for by name, or by the endpoint of a collector.
    """
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ()
    named = os.environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if not named:
        named = "otlp" if _first(_ENDPOINTS) else "none"
    names = [name.strip() for name in named.split(",")]
    return tuple(name for name in names if name and name != "none")


def otlp_protocol() -> str:
    """How a collector is to be spoken to, such as ``grpc``; empty where nothing says so."""
    return _first(_PROTOCOLS)


def otlp_endpoint() -> str:
    """Where the collector is; empty where nothing says so."""
    return _first(_ENDPOINTS)


def unusable_headers() -> list[str]:
    """The variables of headers that have, decoded, what no header can hold."""
    given = ((name, unquote(os.environ.get(name, "")).strip()) for name in sorted(SECRETS))
    return [name for name, text in given if not re.fullmatch("[ -~]*", text)]


def trace_of_the_environment() -> dict[str, str]:
    """The trace that the process was started in, as W3C's headers."""
    names = ("traceparent", "tracestate")
    return {name: value for name in names if (value := os.environ.get(name.upper()))}


def _first(variables: tuple[str, ...]) -> str:
    return next((value.strip() for name in variables if (value := os.environ.get(name))), "")
