"""Nodes die and are started again under load: nothing is lost, and nothing is done too often."""

from __future__ import annotations

import time

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.conftest import Figure
from tests.cluster.processes import Worker

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
LABELS = "one two three"


@pytest.mark.parametrize("cluster", ["journal", "redis", "postgres"], indirect=True)
def test_60_subtasks_survive_the_death_of_a_node(cluster: Cluster, figure: Figure) -> None:
    ledger = cluster.ledger
    service = cluster.service("Work")
    _, dies, _ = cluster.workers(LABELS, "Work")
    subtasks = cluster.create(service, "Work", {"seconds": 1.0}, count=60)
    ledger.wait_for(lambda: len(ledger.ended(subtasks)) >= 20 and ledger.running("two", subtasks))
    dies.kill()
    killed = time.monotonic()
    hit = ledger.running("two", subtasks)
    assert hit
    ledger.wait_for_end(subtasks)
    assert ledger.wrongs(subtasks) == []
    assert {subtask: ledger.statuses(subtask)[-1] for subtask in subtasks} == dict.fromkeys(
        subtasks, 3
    )
    back = [_back_at(cluster, subtask) - killed for subtask in hit]
    figure("seconds until back at work", round(max(back), 2))
    assert max(back) <= 5
    runs = {subtask: len(cluster.runs(subtask)) for subtask in subtasks}
    assert {subtask for subtask, count in runs.items() if count != 1} <= set(hit)
    assert max(runs.values()) <= 2


def _back_at(cluster: Cluster, subtask: str) -> float:
    """When another node than the one that died first spoke of it."""
    return next(call.at for call in cluster.ledger.calls(subtask) if call.source != "two")


@pytest.mark.parametrize("seconds_to_drain", ["10", "0"])
def test_rolling_restart_under_load_loses_nothing(cluster: Cluster, seconds_to_drain: str) -> None:
    ledger = cluster.ledger
    service = cluster.service("Work")
    nodes = cluster.workers(LABELS, "Work", drain_seconds=seconds_to_drain)
    subtasks = cluster.create(service, "Work", {"seconds": 1.0}, count=60)
    for node in nodes:
        _restart(cluster, node, subtasks, seconds_to_drain)
    ledger.wait_for_end(subtasks)
    assert ledger.wrongs(subtasks) == []
    assert {ledger.statuses(subtask)[-1] for subtask in subtasks} == {3}
    if seconds_to_drain != "0":
        assert {len(cluster.runs(subtask)) for subtask in subtasks} == {1}


def _restart(cluster: Cluster, node: Worker, subtasks: list[str], seconds_to_drain: str) -> None:
    cluster.ledger.wait_for(lambda: cluster.ledger.running(node.name, subtasks))
    assert node.stop() == 0
    cluster.worker(node.name, "Work", drain_seconds=seconds_to_drain)
