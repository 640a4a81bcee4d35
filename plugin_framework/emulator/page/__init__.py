"""The page to look at a local Datahub with: files that a browser takes as they are."""

from __future__ import annotations

from plugin_framework.emulator.page.serving import page_routes

__all__ = ["page_routes"]
