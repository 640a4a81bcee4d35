"""Cancel, pause and resume reach a subtask wherever it is."""

from __future__ import annotations

import time

import pytest

from tests.cluster.cluster import CANCELLED, PAUSED, RUNNING, Cluster
from tests.cluster.conftest import Figure
from tests.cluster.ledger import Ledger
from tests.cluster.processes import Service, until

NEVER = "/never"
SELDOM = "60"
"""Seconds between polls: within a test it is the broadcast that is heard, or nothing."""


@pytest.fixture(scope="module")
def service(module_cluster: Cluster) -> Service:
    """With two nodes that hear nothing but the broadcast, and a plugin that none of them offers."""
    started = module_cluster.service("Work", "OtherWork", poll_seconds=SELDOM)
    module_cluster.workers("one two", "Work", poll_seconds=SELDOM)
    return started


@pytest.fixture
def ledger(module_cluster: Cluster) -> Ledger:
    return module_cluster.ledger


def _running(cluster: Cluster, service: Service) -> str:
    (subtask,) = cluster.create(service, "Work", {"until": NEVER})
    until(lambda: cluster.runs(subtask), "its run")
    return subtask


def test_running_is_cancelled_within_a_second(
    module_cluster: Cluster,
    service: Service,
    ledger: Ledger,
    figure: Figure,
) -> None:
    took = []
    for _ in range(3):
        subtask = _running(module_cluster, service)
        asked = time.monotonic()
        module_cluster.manage(service, subtask, CANCELLED)
        ledger.wait_for_end([subtask])
        ending = ledger.ending(subtask)
        assert ending is not None
        took.append(ending.at - asked)
        assert ledger.statuses(subtask) == [1, 4]
        assert ledger.wrongs([subtask]) == []
    figure("seconds to cancel what runs", [round(one, 3) for one in took])
    assert max(took) <= 1


def test_queued_is_cancelled_at_once(
    module_cluster: Cluster, service: Service, ledger: Ledger, figure: Figure
) -> None:
    dropped, kept = module_cluster.create(service, "OtherWork", count=2)
    asked = time.monotonic()
    module_cluster.manage(service, dropped, CANCELLED)
    ledger.wait_for_end([dropped])
    ending = ledger.ending(dropped)
    assert ending is not None
    figure("seconds to cancel what is queued", round(ending.at - asked, 3))
    assert ending.at - asked <= 1
    assert ledger.statuses(dropped) == [4]
    module_cluster.worker("three", "OtherWork")
    ledger.wait_for_end([kept])
    assert module_cluster.runs(dropped) == []
    assert ledger.wrongs([dropped, kept]) == []
    assert len(ledger.calls(dropped)) == 1


def test_pause_and_resume(module_cluster: Cluster, service: Service, ledger: Ledger) -> None:
    go = module_cluster.folder / "resumed"
    (subtask,) = module_cluster.create(service, "Work", {"until": str(go)})
    until(lambda: module_cluster.runs(subtask), "its run")
    module_cluster.manage(service, subtask, PAUSED)
    ledger.wait_for_status(subtask, PAUSED)
    module_cluster.manage(service, subtask, RUNNING)
    ledger.wait_for_status(subtask, RUNNING)
    go.touch()
    ledger.wait_for_end([subtask])
    assert ledger.statuses(subtask) == [1, 2, 1, 3]
    assert ledger.wrongs([subtask]) == []
    assert len(module_cluster.runs(subtask)) == 1


@pytest.mark.cluster
def test_notify_is_the_fallback(cluster: Cluster) -> None:
    """Datahub tells the service nothing, and so the service tells the node nothing."""
    service = cluster.service("Work")
    cluster.worker("one", "Work", poll_seconds="0.5")
    subtask = _running(cluster, service)
    cluster.ask(subtask, CANCELLED)
    cluster.ledger.wait_for_end([subtask])
    assert cluster.ledger.statuses(subtask) == [1, 4]
    assert cluster.ledger.wrongs([subtask]) == []


@pytest.mark.cluster
def test_what_datahub_has_cancelled_meanwhile_is_not_run(cluster: Cluster) -> None:
    """Nobody has told the service; the node that takes it asks before it starts."""
    service = cluster.service("Work")
    dropped, kept = cluster.create(service, "Work", count=2)
    cluster.ask(dropped, CANCELLED)
    cluster.worker("one", "Work")
    cluster.ledger.wait_for_end([dropped, kept])
    until(lambda: cluster.depth("Work") == 0, "an empty queue")
    assert cluster.runs(dropped) == []
    assert cluster.ledger.statuses(dropped) == [4]


@pytest.mark.cluster
@pytest.mark.timeout(180)
def test_control_goes_on_where_the_subtask_does(cluster: Cluster) -> None:
    """Its node is killed while it is paused; it is at work elsewhere, and cancelled there."""
    service = cluster.service("Work")
    dies = cluster.worker("one", "Work")
    subtask = _running(cluster, service)
    cluster.worker("two", "Work")
    dies.kill()
    cluster.ledger.wait_for(lambda: cluster.ledger.running("two", [subtask]))
    cluster.manage(service, subtask, CANCELLED)
    cluster.ledger.wait_for_end([subtask])
    assert cluster.ledger.statuses(subtask)[-1] == 4
    assert cluster.ledger.wrongs([subtask]) == []
