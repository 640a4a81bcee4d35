from __future__ import annotations

from collections.abc import Iterator

import pytest

from plugin_framework.transfer.engine import Engine, EngineOptions
from tests.dialects.stores import STORES, RunningStore


@pytest.fixture(scope="session", params=STORES)
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStore]:
    """One real store after the other, each started once for all tests."""
    with STORES[request.param](tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture
def engine() -> Iterator[Engine]:
    running = Engine(EngineOptions(allow_private=True, backoff=0.01))
    yield running
    running.close()
