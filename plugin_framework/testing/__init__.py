"""Running plugins without a real Datahub: the test kit, and ``run_local``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plugin_framework.testing.clock import Clock
    from plugin_framework.testing.conformance import PluginConformance
    from plugin_framework.testing.datahub import LocalDatahub, run_plugin
    from plugin_framework.testing.probe import ContextProbe, make_context
    from plugin_framework.testing.records import LogLine
    from plugin_framework.testing.task_run import Output, TaskRun
    from plugin_framework.testing.web import Request

__all__ = [
    "Clock",
    "ContextProbe",
    "LocalDatahub",
    "LogLine",
    "Output",
    "PluginConformance",
    "Request",
    "TaskRun",
    "make_context",
    "run_plugin",
]

# Loaded at first use: pytest imports this package whether or not a test needs it.
_HOMES = {
    "Clock": "plugin_framework.testing.clock",
    "ContextProbe": "plugin_framework.testing.probe",
    "LocalDatahub": "plugin_framework.testing.datahub",
    "LogLine": "plugin_framework.testing.records",
    "Output": "plugin_framework.testing.task_run",
    "PluginConformance": "plugin_framework.testing.conformance",
    "Request": "plugin_framework.testing.web",
    "TaskRun": "plugin_framework.testing.task_run",
    "make_context": "plugin_framework.testing.probe",
    "run_plugin": "plugin_framework.testing.datahub",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
