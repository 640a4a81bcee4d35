"""The extension that the framework itself declares: traces, where the environment asks for them."""

from __future__ import annotations

import logging
import sys
from functools import cache
from typing import Any

from plugin_framework.errors import Code, Problem
from plugin_framework.settings.opentelemetry import trace_exporters

log: logging.Logger = logging.getLogger("datahub.telemetry")

_FORKSERVER = "plugin_framework.isolation.forkserver"


class Telemetry:
    """Has the hooks of ``Traces`` where there are to be traces, and else none."""

    def __init__(self) -> None:
        self._traces = _traces()

    def __getattr__(self, name: str) -> Any:
        """A hook; AttributeError where there is none."""
        return getattr(self.__dict__.get("_traces"), name)


def _traces() -> object | None:
    names = trace_exporters()
    if not names:
        return None
    try:
        from plugin_framework.telemetry.traces import Traces  # noqa: PLC0415 - an extra
    except ImportError:
        _say(
            "nothing is traced: OpenTelemetry is not installed:"
            " pip install 'datahub-plugin-framework[telemetry]'"
        )
        return None
    if _FORKSERVER in sys.modules:  # what is traced there is sent by the supervisor
        return Traces(None)
    from plugin_framework.telemetry.exporting import Exporting, NoExporterError  # noqa: PLC0415 - an extra

    try:
        return Traces(Exporting(names))
    except NoExporterError as error:
        _say(f"nothing is traced: {error}", error.code)
        return None


@cache
def _say(what: str, code: Code = Code.EXTRA_MISSING) -> None:
    """Once, and not in the plugin's process as well."""
    if _FORKSERVER not in sys.modules:
        log.warning("%s", Problem(what, code))
