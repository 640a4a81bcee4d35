"""Write Datahub plugins: lifecycle, heartbeats, transfers and results are taken care of."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from plugin_framework._version import __version__

if TYPE_CHECKING:
    from pydantic import Field

    from plugin_framework.engines.local import run_task
    from plugin_framework.errors import (
        DatahubError,
        PluginError,
        TaskCancelled,
        TaskInterrupted,
        TransferError,
    )
    from plugin_framework.lifecycle.outcome import TaskOutcome
    from plugin_framework.plugin.base import DatahubPlugin, PluginConfig, TaskResult
    from plugin_framework.plugin.context import TaskContext, UploadedFile
    from plugin_framework.plugin.hookspecs import hookimpl
    from plugin_framework.protocol.models import TaskStatus
    from plugin_framework.settings import Settings
    from plugin_framework.testing.local import run_local

__all__ = [
    "DatahubError",
    "DatahubPlugin",
    "Field",
    "PluginConfig",
    "PluginError",
    "Settings",
    "TaskCancelled",
    "TaskContext",
    "TaskInterrupted",
    "TaskOutcome",
    "TaskResult",
    "TaskStatus",
    "TransferError",
    "UploadedFile",
    "__version__",
    "hookimpl",
    "run_local",
    "run_task",
]

# Loaded at first use: importing the package must cost no more than what it stands on.
_HOMES = {
    "DatahubError": "plugin_framework.errors",
    "DatahubPlugin": "plugin_framework.plugin.base",
    "Field": "pydantic",
    "PluginConfig": "plugin_framework.plugin.base",
    "PluginError": "plugin_framework.errors",
    "Settings": "plugin_framework.settings",
    "TaskCancelled": "plugin_framework.errors",
    "TaskContext": "plugin_framework.plugin.context",
    "TaskInterrupted": "plugin_framework.errors",
    "TaskOutcome": "plugin_framework.lifecycle.outcome",
    "TaskResult": "plugin_framework.plugin.base",
    "TaskStatus": "plugin_framework.protocol.models",
    "TransferError": "plugin_framework.errors",
    "UploadedFile": "plugin_framework.plugin.context",
    "hookimpl": "plugin_framework.plugin.hookspecs",
    "run_local": "plugin_framework.testing.local",
    "run_task": "plugin_framework.engines.local",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
