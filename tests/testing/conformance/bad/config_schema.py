from __future__ import annotations

from plugin_framework import Field, PluginConfig
from tests.testing.conformance.bad.lines import Lines


class Bad(Lines):
    """Has a default that its own bounds refuse."""

    class Config(PluginConfig):
        least: int = Field(0, ge=1, title="Least")
