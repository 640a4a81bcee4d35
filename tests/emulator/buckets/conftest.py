from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from plugin_framework.emulator import Emulator, Store
from tests.dialects.stores import STORES, RunningStore
from tests.emulator.calling import Plugin

PREFIX = "some/where"


def variables(real: RunningStore) -> dict[str, str]:
    """Where boto3 finds its credentials, and looks no further."""
    return {
        "AWS_ACCESS_KEY_ID": real.account.access_key,
        "AWS_SECRET_ACCESS_KEY": real.account.secret,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@pytest.fixture(scope="session", params=STORES)
def real(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStore]:
    """One real store after the other."""
    with STORES[request.param](tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture(scope="session")
def emulator(real: RunningStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A local Datahub whose files are in the real store."""
    made = Emulator(
        state_dir=tmp_path_factory.mktemp("datahub"),
        storage=f"s3://{real.account.bucket}/{PREFIX}",
        endpoint=real.account.endpoint,
    )
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:  # they are looked up once
            for name, value in variables(real).items():
                patch.setenv(name, value)
            stack.enter_context(made)
        yield made


@pytest.fixture
def store(emulator: Emulator) -> Store:
    return emulator.store


@pytest.fixture
def plugin(emulator: Emulator) -> Plugin:
    return Plugin(emulator.url)


@pytest.fixture
def running(plugin: Plugin, store: Store) -> str:
    """A subtask in status 1."""
    subtask_id = store.create_subtask(f"subtask-{uuid.uuid4()}").subtask_id
    plugin.status(subtask_id, 1)
    return subtask_id
