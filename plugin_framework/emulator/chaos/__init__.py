"""Faults on demand: rules that say what goes wrong, for which requests, and when."""

from __future__ import annotations

from plugin_framework.emulator.chaos.engine import Chaos, Injection
from plugin_framework.emulator.chaos.ledger import Ledger
from plugin_framework.emulator.chaos.target import Target

__all__ = [
    "Chaos",
    "Injection",
    "Ledger",
    "Target",
]
