from __future__ import annotations

from collections.abc import Iterator

import pytest

from plugin_framework.transfer.engine import Engine, EngineOptions
from tests.transfer.storage_server import StorageServer


@pytest.fixture
def server() -> Iterator[StorageServer]:
    with StorageServer() as running:
        yield running


@pytest.fixture
def options() -> EngineOptions:
    return EngineOptions(allow_private=True, backoff=0.001)


@pytest.fixture
def engine(options: EngineOptions) -> Iterator[Engine]:
    running = Engine(options)
    yield running
    running.close()
