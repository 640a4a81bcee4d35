"""A store with a Platform over it, and services that answer as a test says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from plugin_framework.emulator import Credentials, Store
from plugin_framework.emulator.platform import Platform
from tests.emulator.platform.services import KEY, SECRET, ScriptedService

CREDENTIALS = Credentials(KEY, SECRET)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "datahub")) as made:
        yield made


@pytest.fixture
def platform(store: Store) -> Iterator[Platform]:
    with Platform(store, CREDENTIALS) as running:
        yield running


@pytest.fixture
def service() -> Iterator[ScriptedService]:
    """A service with one plugin, named scripted."""
    with ScriptedService() as running:
        yield running


@pytest.fixture
def registered(platform: Platform, service: ScriptedService) -> ScriptedService:
    """The same, known to the platform."""
    platform.add_service(service.url)
    return service
