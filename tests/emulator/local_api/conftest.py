from __future__ import annotations

import pytest

from plugin_framework.emulator import Emulator
from tests.emulator.local_api.calling import Local


@pytest.fixture
def local(emulator: Emulator) -> Local:
    return Local(emulator.url)
