"""Each part of a cluster is killed in the middle of its work, and started again."""

from __future__ import annotations

import time

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.conftest import MakeCluster, StoreOf
from tests.cluster.processes import Service, Worker
from tests.cluster.rabbitmq import RabbitMQ

LONG = [pytest.mark.cluster, pytest.mark.timeout(240)]
COUNT = 12
OUTAGE_SECONDS = 6
"""Twice a lease."""


def _begin(cluster: Cluster, labels: str = "one two") -> tuple[Service, list[str]]:
    """Half of the subtasks are over, and some are at work."""
    service = cluster.service("Work")
    cluster.workers(labels, "Work")
    subtasks = cluster.create(service, "Work", {"seconds": 0.8}, count=COUNT)
    cluster.wait_for_runs(COUNT // 2)
    return service, subtasks


def _check(cluster: Cluster, subtasks: list[str]) -> None:
    """All have ended once, with a result."""
    cluster.ledger.wait_for_end(subtasks)
    assert cluster.ledger.wrongs(subtasks) == []
    assert {cluster.ledger.statuses(subtask)[-1] for subtask in subtasks} == {3}


@pytest.mark.cluster
@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["journal", "redis", "postgres"])
def test_the_broker_is_killed(make_cluster: MakeCluster, own_broker: RabbitMQ, kind: str) -> None:
    cluster = make_cluster(kind, url=own_broker.url())
    service, subtasks = _begin(cluster)
    own_broker.wait_for_queue(cluster.queue("Work"))
    own_broker.kill()
    while_away = cluster.create(service, "Work", count=3)
    own_broker.start()
    _check(cluster, [*subtasks, *while_away])
    assert {len(cluster.runs(subtask)) for subtask in while_away} == {1}
    for worker in (one for one in cluster.processes if isinstance(one, Worker)):
        assert [line["code"] for line in worker.found("tried again each second")] == ["DH-601"]
        assert worker.found("connected to the broker again")


@pytest.mark.parametrize(
    "cluster",
    [pytest.param(kind, marks=LONG) for kind in ("redis", "journal", "postgres")],
    indirect=True,
)
def test_the_service_is_killed(cluster: Cluster) -> None:
    service, subtasks = _begin(cluster)
    service.kill()
    again = cluster.service("Work")
    _check(cluster, subtasks)
    assert {len(cluster.runs(subtask)) for subtask in subtasks} == {1}
    later = cluster.create(again, "Work")
    _check(cluster, later)


@pytest.mark.parametrize(
    "cluster",
    ["journal", pytest.param("redis", marks=LONG), pytest.param("postgres", marks=LONG)],
    indirect=True,
)
def test_a_supervisor_is_killed(cluster: Cluster) -> None:
    service = cluster.service("Work")
    dies, _ = cluster.workers("one two", "Work")
    subtasks = cluster.create(service, "Work", {"seconds": 0.8}, count=COUNT)
    cluster.ledger.wait_for(lambda: cluster.ledger.running("one", subtasks))
    dies.kill()
    hit = cluster.ledger.running("one", subtasks)
    cluster.worker("one", "Work")
    _check(cluster, subtasks)
    runs = {subtask: len(cluster.runs(subtask)) for subtask in subtasks}
    assert {subtask for subtask, count in runs.items() if count != 1} <= set(hit)
    assert max(runs.values()) <= 2


def test_a_plugin_process_is_killed(cluster: Cluster) -> None:
    service = cluster.service("Work")
    cluster.worker("one", "Work")
    dies, lives = cluster.create(service, "Work", {"seconds": 1.0}, count=2)
    (victim,) = [run for run in cluster.wait_for_runs(2) if run.subtask == dies]
    victim.kill()
    cluster.ledger.wait_for_end([dies, lives])
    assert cluster.ledger.wrongs([dies, lives]) == []
    assert cluster.ledger.statuses(dies) == [1, 5]
    assert cluster.ledger.statuses(lives) == [1, 3]
    assert len(cluster.runs(dies)) == 1


@pytest.mark.cluster
@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_the_store_is_killed(make_cluster: MakeCluster, store_of: StoreOf, kind: str) -> None:
    cluster = make_cluster(kind)
    service, subtasks = _begin(cluster)
    store_of(kind).kill()
    try:
        while_away = cluster.create(service, "Work", count=3)
        time.sleep(OUTAGE_SECONDS)  # waits for nothing: it is how long the store is away
    finally:
        store_of(kind).start()
    _check(cluster, [*subtasks, *while_away])
