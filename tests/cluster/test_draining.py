"""A node that is told to end finishes what it has, or hands it back."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.conftest import Figure, MakeCluster
from tests.cluster.processes import until
from tests.cluster.rabbitmq import RabbitMQ

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


def test_it_finishes_what_it_has(cluster: Cluster) -> None:
    service = cluster.service("Work")
    node = cluster.worker("one", "Work")
    subtasks = cluster.create(service, "Work", {"seconds": 3}, count=4)
    cluster.wait_for_runs(2)
    assert node.stop() == 0
    begun = {run.subtask for run in cluster.wait_for_runs(2)}
    assert set(cluster.ledger.ended(subtasks)) == begun
    assert cluster.ledger.wrongs(begun) == []
    assert {cluster.ledger.statuses(subtask)[-1] for subtask in begun} == {3}
    # What it had not begun waits for another.
    cluster.worker("two", "Work")
    cluster.ledger.wait_for_end(subtasks)
    assert cluster.ledger.wrongs(subtasks) == []
    assert {len(cluster.runs(subtask)) for subtask in subtasks} == {1}


def test_it_is_shown_as_draining(cluster: Cluster) -> None:
    service = cluster.service("Work")
    node = cluster.worker("one", "Work", drain_seconds="30")
    go = cluster.folder / "go"
    (subtask,) = cluster.create(service, "Work", {"until": str(go)})
    cluster.wait_for_runs(1)
    node.process.send_signal(signal.SIGTERM)
    until(lambda: [n["draining"] for n in service.cluster()["nodes"]] == [True], "draining")
    go.touch()
    assert node.end() == 0
    cluster.ledger.wait_for_end([subtask])
    assert cluster.ledger.statuses(subtask) == [1, 3]
    until(lambda: service.cluster()["nodes"] == [], "no node")


@pytest.mark.parametrize("cluster", ["journal", "redis", "postgres"], indirect=True)
def test_it_hands_back_what_takes_longer(cluster: Cluster, figure: Figure) -> None:
    ledger = cluster.ledger
    service = cluster.service("Steps")
    nodes = cluster.workers("one two", "Steps", drain_seconds="0.5")
    (subtask,) = cluster.create(service, "Steps", {"steps": 30, "seconds": 0.2})
    until(lambda: len(cluster.marks) >= 5, "some steps")
    first = ledger.starts(subtask)[0].source
    (node,) = [node for node in nodes if node.name == first]
    told = time.monotonic()
    assert node.stop() == 0
    assert len(node.found(f"subtask {subtask} is handed back to the queue")) == 1
    ledger.wait_for(lambda: len(ledger.starts(subtask)) == 2)
    taken = ledger.starts(subtask)[-1].at
    figure("seconds until another has it", round(taken - told, 2))
    # Its lease is given back: nobody waits for it to be over.
    assert taken - told < 5
    ledger.wait_for_end([subtask])
    assert ledger.wrongs([subtask]) == []
    assert ledger.statuses(subtask)[-1] == 3
    steps = [mark.what for mark in cluster.marks if mark.what.startswith("step")]
    assert len(set(steps)) == 30
    assert len(steps) <= 31


def test_a_second_signal_ends_it_at_once(cluster: Cluster) -> None:
    service = cluster.service("Work")
    node = cluster.worker("one", "Work", drain_seconds="60")
    go = cluster.folder / "go"
    (subtask,) = cluster.create(service, "Work", {"until": str(go)})
    cluster.wait_for_runs(1)
    node.process.send_signal(signal.SIGTERM)
    until(lambda: [n["draining"] for n in service.cluster()["nodes"]] == [True], "draining")
    assert node.stop(seconds=30) == 0
    assert cluster.ledger.ending(subtask) is None
    cluster.worker("two", "Work")
    go.touch()
    cluster.ledger.wait_for_end([subtask])
    assert cluster.ledger.wrongs([subtask]) == []


def test_it_ends_while_the_broker_hangs(make_cluster: MakeCluster, own_broker: RabbitMQ) -> None:
    nodes = make_cluster(url=own_broker.url()).workers("one two", "Work")
    os.killpg(own_broker.pid, signal.SIGSTOP)
    patient, hurried = nodes
    patient.process.send_signal(signal.SIGTERM)

    def has_ended() -> bool:
        hurried.process.send_signal(signal.SIGTERM)
        return hurried.process.poll() is not None

    until(has_ended, "it ends when it is told so again")
    assert hurried.end() == 0
    assert hurried.found("the broker is told no more")
    assert patient.end(seconds=30) == 0
    assert patient.found("the broker does not answer")
