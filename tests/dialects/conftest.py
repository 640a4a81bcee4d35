from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from plugin_framework.emulator import Emulator, Store
from plugin_framework.transfer.engine import Engine, EngineOptions
from tests.dialects.places import Place
from tests.dialects.schedules import PART
from tests.dialects.stores import STORES, RunningStore


@pytest.fixture(scope="session", params=STORES)
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStore]:
    """One real store after the other, each started once for all tests."""
    with STORES[request.param](tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Place]]:
    """One for each family of dialects, which takes all of its schemes."""
    with ExitStack() as stack:
        found = {}
        for name in ("s3", "oss", "cos"):
            folder = tmp_path_factory.mktemp(name)
            emulator = stack.enter_context(Emulator(state_dir=folder, dialect=name))
            store = stack.enter_context(closing(Store(folder, minimum_part=PART)))
            found[name] = Place(emulator, store)
        yield found


@pytest.fixture
def engine() -> Iterator[Engine]:
    running = Engine(EngineOptions(allow_private=True, backoff=0.01))
    yield running
    running.close()
