"""Nodes take what they can run, and leave the rest to others."""

from __future__ import annotations

import signal

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.conftest import MakeCluster
from tests.cluster.processes import until
from tests.cluster.rabbitmq import RabbitMQ

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


def test_a_busy_node_sits_on_nothing(cluster: Cluster) -> None:
    """It serves two plugins, and has one slot."""
    ledger = cluster.ledger
    service = cluster.service("Work", "OtherWork")
    cluster.worker("one", "Work", "OtherWork", max_concurrency="1")
    go = cluster.folder / "go"
    busy = cluster.create(service, "Work", {"until": str(go)})
    cluster.wait_for_runs(1)
    others = cluster.create(service, "OtherWork", count=3)
    more = cluster.create(service, "Work", count=3)
    # With the first still busy, a second one gets all of them.
    cluster.worker("two", "Work", "OtherWork", max_concurrency="1")
    ledger.wait_for_end([*others, *more])
    assert {ledger.starts(one)[0].source for one in [*others, *more]} == {"two"}
    go.touch()
    ledger.wait_for_end(busy)
    assert ledger.wrongs([*busy, *others, *more]) == []


def test_both_plugins_have_their_turns(cluster: Cluster) -> None:
    ledger = cluster.ledger
    service = cluster.service("Work", "OtherWork")
    some = cluster.create(service, "Work", {"seconds": 0.3}, count=10)
    others = cluster.create(service, "OtherWork", {"seconds": 0.3}, count=10)
    cluster.worker("one", "Work", "OtherWork", max_concurrency="1")
    ledger.wait_for_end([*some, *others])
    assert ledger.wrongs([*some, *others]) == []
    half = sorted([*some, *others], key=lambda one: ledger.starts(one)[0].at)[:10]
    assert 3 <= len(set(half) & set(some)) <= 7


@pytest.mark.parametrize("kind", ["journal", "redis", "postgres"])
def test_what_the_broker_takes_away_is_not_run_twice(
    make_cluster: MakeCluster, own_broker: RabbitMQ, kind: str
) -> None:
    """Its consumer_timeout is shorter than anybody was told."""
    own_broker.set_consumer_timeout(8)
    own_broker.control("eval", "application:set_env(rabbit, channel_tick_interval, 2000).")
    cluster = make_cluster(kind, url=own_broker.url())
    ledger = cluster.ledger
    service = cluster.service("LimitedWork")
    first = cluster.worker("one", "LimitedWork")
    subtasks = cluster.create(service, "LimitedWork", {"seconds": 20}, count=2)
    cluster.wait_for_runs(2)
    second = cluster.worker("two", "LimitedWork")
    told = first.said("consumer_timeout")
    assert told["code"] == "DH-605"
    assert first.end() == 2
    ledger.wait_for_end(subtasks)
    assert ledger.wrongs(subtasks) == []
    assert {len(cluster.runs(subtask)) for subtask in subtasks} == {1}
    second.said("runs at one-", times=2)  # what was taken away came to it, and was let alone
    # From now on a worker knows, and does not begin.
    late = cluster.worker("late", "LimitedWork", ready=False)
    assert late.end() == 2
    assert [line.get("code") for line in late.lines if line["level"] == "critical"] == ["DH-605"]


def test_a_drain_takes_no_more(cluster: Cluster) -> None:
    ledger = cluster.ledger
    service = cluster.service("Work")
    node = cluster.worker("one", "Work", drain_seconds="30")
    go = cluster.folder / "go"
    busy = cluster.create(service, "Work", {"until": str(go)})
    cluster.wait_for_runs(1)
    node.process.send_signal(signal.SIGTERM)
    node.said("no more subtasks are taken")
    later = cluster.create(service, "Work", count=3)
    until(lambda: cluster.depth("Work") == len(later), "all of them in the queue")
    cluster.worker("two", "Work")
    ledger.wait_for_end(later)
    assert {ledger.starts(one)[0].source for one in later} == {"two"}
    go.touch()
    assert node.end() == 0
    assert ledger.statuses(busy[0]) == [1, 3]
    assert ledger.wrongs([*busy, *later]) == []
