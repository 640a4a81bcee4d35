"""What Datahub does to plugin services: it finds, calls and watches them (PROTOCOL.md, part 2)."""

from __future__ import annotations

from plugin_framework.emulator.platform.platform import Platform
from plugin_framework.emulator.platform.registry import Plugin

__all__ = ["Platform", "Plugin"]
