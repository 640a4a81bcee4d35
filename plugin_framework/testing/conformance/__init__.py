"""Rules that every plugin should keep, and what tries a plugin by them.

What is here is loaded when it is asked for: a plugin's own process loads one module of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plugin_framework.testing.conformance.catalogue import RULES
    from plugin_framework.testing.conformance.check import check_plugin
    from plugin_framework.testing.conformance.report import Finding, Report
    from plugin_framework.testing.conformance.rule import Rule
    from plugin_framework.testing.conformance.suite import PluginConformance

__all__ = ["RULES", "Finding", "PluginConformance", "Report", "Rule", "check_plugin"]

_HOMES = {
    "RULES": "catalogue",
    "Finding": "report",
    "PluginConformance": "suite",
    "Report": "report",
    "Rule": "rule",
    "check_plugin": "check",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for; ``PluginConformance`` alone needs pytest."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
