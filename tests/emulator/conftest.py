from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugin_framework.emulator import Emulator, Store
from tests.emulator.calling import Plugin


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One server for all tests; each has subtasks of its own."""
    state_dir = tmp_path_factory.mktemp("datahub")
    with Emulator(state_dir=state_dir, key="key-1", secret="secret-1") as running:
        yield running


@pytest.fixture
def store(emulator: Emulator) -> Store:
    return emulator.store


@pytest.fixture
def plugin(emulator: Emulator) -> Plugin:
    return Plugin(emulator.url, "key-1", "secret-1")


@pytest.fixture
def subtask(store: Store) -> str:
    """A subtask in status 0."""
    return store.create_subtask(f"subtask-{uuid.uuid4()}").subtask_id


@pytest.fixture
def running(plugin: Plugin, subtask: str) -> str:
    """A subtask in status 1."""
    plugin.status(subtask, 1)
    return subtask


@pytest.fixture
def source(store: Store, tmp_path: Path) -> str:
    """A subtask whose input is the bytes 0 to 255, four times."""
    path = tmp_path / "input.bin"
    path.write_bytes(bytes(range(256)) * 4)
    return store.create_subtask(f"subtask-{uuid.uuid4()}", input=path).subtask_id
