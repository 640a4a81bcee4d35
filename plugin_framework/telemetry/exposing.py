"""Figures of a command that has no HTTP interface of its own: on a port, or in a file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from plugin_framework.errors import Code, ConfigurationError, Problem

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

log: logging.Logger = logging.getLogger("datahub.telemetry")


@contextmanager
def exposed(place: str | None) -> Iterator[dict[str, object]]:
    """Yield the observers that count, by name; ``place`` is as of ``Settings.metrics``.

    Raises:
        ConfigurationError: it is an address that cannot be listened on.
    """
    if place is None:
        yield {}
        return
    try:
        from prometheus_client import CollectorRegistry, ProcessCollector  # noqa: PLC0415 - an extra
    except ImportError:
        what = "no figures are kept: pip install 'datahub-plugin-framework[telemetry]'"
        log.warning("DATAHUB_METRICS: %s", Problem(what, Code.EXTRA_MISSING))
        yield {}
        return
    from plugin_framework.telemetry.figures import TaskFigures  # noqa: PLC0415 - only where asked for

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    figures: dict[str, object] = {"figures": TaskFigures(registry)}
    with _in_file(Path(place), registry) if place.endswith(".prom") else _on_port(place, registry):
        yield figures


@contextmanager
def _in_file(path: Path, registry: CollectorRegistry) -> Iterator[None]:
    """Written once, at the end, in one piece: for node_exporter's textfile collector."""
    from prometheus_client import write_to_textfile  # noqa: PLC0415 - an extra

    try:
        yield
    finally:
        try:
            write_to_textfile(str(path), registry)
        except OSError as error:
            what = f"DATAHUB_METRICS: {path} cannot be written: {error.strerror}"
            log.warning("%s", Problem(what, Code.FOLDER_UNUSABLE))


@contextmanager
def _on_port(place: str, registry: CollectorRegistry) -> Iterator[None]:
    from prometheus_client import start_http_server  # noqa: PLC0415 - an extra

    host, _, port = place.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), registry)
    except OSError as error:
        raise ConfigurationError(
            f"DATAHUB_METRICS: {place}: {error.strerror or error}", code=Code.PORT_UNUSABLE
        ) from None
    log.info("figures are at http://%s:%d/metrics", host, server.server_port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
