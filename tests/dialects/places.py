"""Local Datahubs, one for each family of dialects."""

from __future__ import annotations

from dataclasses import dataclass

from plugin_framework.emulator import Emulator, Store


@dataclass(frozen=True)
class Place:
    """A local Datahub, and its state as seen from here: parts may be small."""

    emulator: Emulator
    store: Store
