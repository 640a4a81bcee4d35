"""A node's network is cut off from everything, and comes back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster import network, stores
from tests.cluster.cluster import Cluster, Datahub
from tests.cluster.conftest import need
from tests.cluster.network import OURS, Network
from tests.cluster.processes import until
from tests.cluster.rabbitmq import LOOPBACK, RabbitMQ

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
CUT_SECONDS = 30
BOTH = (LOOPBACK, OURS)


@pytest.fixture
def cable() -> Iterator[Network]:
    need(there=network.is_possible(), what="the right to make networks, or iproute2,")
    with Network() as joined:
        yield joined


@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_a_node_cut_off_from_everything(cable: Network, tmp_path: Path, kind: str) -> None:
    need(there=stores.is_installed(kind), what=kind)
    start = contextmanager(stores.start)
    with (
        RabbitMQ(tmp_path / "rabbitmq", addresses=BOTH) as broker,
        start(kind, tmp_path / kind, addresses=BOTH) as store,
        Datahub(tmp_path / "datahub", host=OURS) as datahub,
        Cluster(tmp_path, datahub, broker=broker.url(), store=store.new()) as cluster,
    ):
        _cut_and_mend(cluster, cable)


def _cut_and_mend(cluster: Cluster, cable: Network) -> None:
    ledger = cluster.ledger
    service = cluster.service("Work")
    cluster.worker("far", "Work", before=cable.before, address=OURS, allow_insecure="true")
    go = cluster.folder / "go"
    long = cluster.create(service, "Work", {"until": str(go)})[0]
    short = cluster.create(service, "Work", {"seconds": 3})[0]
    ledger.wait_for(lambda: len(ledger.running("far", [long, short])) == 2)
    cluster.wait_for_runs(2)
    cable.cut()
    cut = time.monotonic()
    cluster.worker("near", "Work")
    more = cluster.create(service, "Work", {"seconds": 0.5}, count=6)
    ledger.wait_for_end([short, *more])
    ledger.wait_for(lambda: ledger.running("near", [long]))
    time.sleep(max(0, cut + CUT_SECONDS - time.monotonic()))  # how long the network is away
    seen = len(ledger.calls(long))
    cable.mend()
    until(lambda: len(cluster.runs(long)) == 2, "the other node's run")
    first, second = cluster.runs(long)
    until(lambda: not first.lives, "the fenced attempt's process ends")
    assert second.lives
    last = cluster.create(service, "Work", {"seconds": 0.5}, count=12)
    ledger.wait_for_end(last)
    ledger.wait_for(lambda: any(c.source == "far" for one in last for c in ledger.calls(one)))
    go.touch()
    subtasks = [long, short, *more, *last]
    ledger.wait_for_end(subtasks)
    assert ledger.wrongs(subtasks) == []
    assert "far" not in {call.source for call in ledger.calls(long)[seen:]}
    assert {ledger.statuses(subtask)[-1] for subtask in subtasks} == {3}
