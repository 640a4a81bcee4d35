"""A Datahub, and services that share nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service.calling import ServiceProcess
from tests.service.hub import Hub


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub() as datahub:
        yield datahub


@pytest.fixture(scope="module")
def service(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """One service for all tests of a module: it starts once, and they use subtasks of their own."""
    with ServiceProcess(
        tmp_path_factory.mktemp("state"), hub.url, "Counts", "--access-log"
    ) as running:
        yield running
