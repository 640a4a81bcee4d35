"""What the page and the command ask: tasks, plugins, files and faults, below ``/local/``."""

from __future__ import annotations

from plugin_framework.emulator.local_api.application import LocalApi

__all__ = ["LocalApi"]
