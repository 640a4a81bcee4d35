"""A store that an earlier release has filled is read by this one, and its subtasks go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from plugin_framework.engines.cluster.records import Ending, Sight
from plugin_framework.engines.cluster.store import LeaseStore
from tests.cluster import stores
from tests.compatibility.cluster_stores import (
    BIG,
    KINDS,
    NODE,
    OUTPUT,
    PART,
    RECORDS,
    SERVICE,
    STATE,
    opened,
    restore,
)


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LeaseStore]:
    kind = str(request.param)
    if not stores.is_installed(kind):
        pytest.skip(f"{kind} is not installed: make cluster-tools")
    with contextmanager(stores.start)(kind, tmp_path) as server:
        url = server.new()
        restore(kind, url)
        with closing(opened(kind, url)) as store:
            yield store


def test_nothing_of_it_is_lost(store: LeaseStore) -> None:
    assert store.look("waits") == Sight(0, 0, "", held=False)
    assert store.held(SERVICE) == {
        "held": Sight(1, 1, NODE, held=True),
        "ended": Sight(1, 0, NODE, held=True),  # its ending is not delivered yet
    }
    assert store.ending("ended") == Ending.of(RECORDS["ending"], "pending")
    assert [one.as_json()["plugins"] for one in store.nodes()] == [RECORDS["node"]["plugins"]]
    assert store.known("store") == "identity-1"
    lease = store.acquire("held", "machine-2-1", seen=store.look("held"))
    assert lease is not None
    assert (lease.number, lease.losses) == (2, 1)
    kept = store.load(lease)
    assert kept.state == STATE
    (upload,) = (one for one in kept.uploads if one.name == BIG.name)
    assert (upload.upload_id, upload.parts, upload.sealed_urls) == ("u-1", {2: PART}, "sealed")
    assert kept.outputs == (OUTPUT,)
