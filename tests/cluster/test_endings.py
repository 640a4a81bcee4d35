"""What has returned is not run again, whoever delivers it, and however late."""

from __future__ import annotations

import pytest

from tests.cluster.cluster import CANCELLED, PAUSED, RUNNING, Cluster
from tests.cluster.processes import Service, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]
STORES = ["journal", "redis", "postgres"]


@pytest.mark.parametrize("cluster", STORES, indirect=True)
def test_another_node_delivers_what_the_dead_one_had_to_report(cluster: Cluster) -> None:
    """Datahub is away when the results are due, and the node is gone when it is back."""
    ledger = cluster.ledger
    service = cluster.service("Work")
    dies = cluster.worker("one", "Work")
    subtasks = cluster.create(service, "Work", {"seconds": 1.5}, count=2)
    ledger.wait_for(lambda: len(ledger.running("one", subtasks)) == 2)
    ledger.away = True
    until(lambda: len(_returned(cluster)) == 2, "both have returned")
    until(lambda: all(_tried(cluster, subtask) for subtask in subtasks), "tries to deliver")
    dies.kill()
    assert ledger.ended(subtasks) == []
    cluster.worker("two", "Work")
    ledger.away = False
    ledger.wait_for_end(subtasks)
    assert ledger.wrongs(subtasks) == []
    for subtask in subtasks:
        ending = ledger.ending(subtask)
        assert ending is not None
        assert ending.source == "two"
        assert ending.content["result"]["attempt"] == 1
        assert len(cluster.runs(subtask)) == 1


@pytest.mark.parametrize("cluster", ["redis"], indirect=True)
def test_a_node_delivers_late_what_it_has(cluster: Cluster) -> None:
    ledger = cluster.ledger
    service = cluster.service("Work")
    cluster.worker("one", "Work")
    (subtask,) = cluster.create(service, "Work", {"seconds": 1})
    ledger.wait_for(lambda: ledger.running("one", [subtask]))
    ledger.away = True
    until(lambda: _returned(cluster), "it has returned")
    until(lambda: _tried(cluster, subtask), "a try to deliver")
    service.kill()
    ledger.away = False
    ledger.wait_for_end([subtask])
    again = cluster.service("Work")
    until(lambda: set(_depths(again)) <= {0}, "nothing waits")
    later = cluster.create(again, "Work")
    ledger.wait_for_end(later)
    assert ledger.wrongs([subtask, *later]) == []
    assert len(cluster.runs(subtask)) == 1


def _depths(service: Service) -> list[int]:
    return [queue["depth"] for queue in service.cluster()["queues"]]


def _returned(cluster: Cluster) -> list[str]:
    return [mark.subtask for mark in cluster.marks if mark.what == "returns"]


def _tried(cluster: Cluster, subtask: str) -> bool:
    return any(call.is_ending for call in cluster.ledger.calls(subtask))


@pytest.mark.parametrize("cluster", STORES, indirect=True)
def test_what_is_paused_goes_on_elsewhere_once_it_is_to(cluster: Cluster) -> None:
    """Its node is killed; another takes it, and leaves it to the service for as long as that is."""
    ledger = cluster.ledger
    service = cluster.service("Work")
    dies = cluster.worker("one", "Work")
    go = cluster.folder / "go"
    (subtask,) = cluster.create(service, "Work", {"until": str(go)})
    cluster.wait_for_runs(1)
    cluster.manage(service, subtask, PAUSED)
    ledger.wait_for_status(subtask, PAUSED)
    other = cluster.worker("two", "Work")
    dies.kill()
    other.said(f"subtask {subtask} is not begun: it is paused")
    # Its place is free for others meanwhile.
    ledger.wait_for_end(cluster.create(service, "Work", count=4))
    assert len(cluster.runs(subtask)) == 1
    cluster.manage(service, subtask, RUNNING)
    until(lambda: len(cluster.runs(subtask)) == 2, "another attempt")
    go.touch()
    ledger.wait_for_end([subtask])
    assert ledger.statuses(subtask) == [1, 2, 1, 3]
    assert ledger.wrongs([subtask]) == []


@pytest.mark.parametrize("cluster", ["redis"], indirect=True)
def test_a_cancel_while_nobody_has_it_is_done(cluster: Cluster) -> None:
    """Its node is dead, and no other has taken it over yet."""
    ledger = cluster.ledger
    service = cluster.service("Work")
    dies = cluster.worker("one", "Work")
    (subtask,) = cluster.create(service, "Work", {"until": "/never"})
    cluster.wait_for_runs(1)
    dies.kill()
    cluster.manage(service, subtask, CANCELLED)
    cluster.worker("two", "Work")
    ledger.wait_for_end([subtask])
    assert ledger.statuses(subtask)[-1] == CANCELLED
    assert ledger.wrongs([subtask]) == []
    assert len(cluster.runs(subtask)) == 1
