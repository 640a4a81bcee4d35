"""A local Datahub: the API and an object store."""

from __future__ import annotations

from plugin_framework.emulator.api import Credentials
from plugin_framework.emulator.app import create_app
from plugin_framework.emulator.rules import Refused
from plugin_framework.emulator.server import Emulator
from plugin_framework.emulator.store import Output, Store
from plugin_framework.emulator.subtasks import Event, Subtask

__all__ = [
    "Credentials",
    "Emulator",
    "Event",
    "Output",
    "Refused",
    "Store",
    "Subtask",
    "create_app",
]
