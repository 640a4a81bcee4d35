"""A node: what reaches its runs, how it drains, and what the others know of it."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugin_framework.engines.cluster.attempt import Fate
from plugin_framework.engines.cluster.node import node_name
from plugin_framework.engines.cluster.records import NodeRecord
from plugin_framework.protocol.models import TaskStatus
from tests.engines.cluster.nodes import Cluster, OneNode
from tests.engines.cluster.plugins import Travels
from tests.lifecycle.running import SUBTASK, eventually
from tests.strict_datahub import StrictDatahub


@pytest.fixture
def hub() -> Iterator[StrictDatahub]:
    with StrictDatahub(SUBTASK) as hub:
        yield hub
        assert hub.violations == []


@pytest.fixture
def cluster(hub: StrictDatahub, tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(hub, tmp_path) as cluster:
        yield cluster


def drained(node: OneNode) -> list[bool]:
    """What ``drain`` returns, once it does."""
    found: list[bool] = []
    threading.Thread(target=lambda: found.append(node.node.drain(signal.SIGTERM))).start()
    return found


def test_names_are_never_used_again() -> None:
    names = {node_name("here") for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("here-") for name in names)


def test_control_reaches_what_runs_here_and_nothing_else(
    cluster: Cluster, hub: StrictDatahub
) -> None:
    node = cluster.node(Travels, "a")
    node.node.control(SUBTASK, TaskStatus.CANCELLED)  # it is not here yet
    node.begin()
    node.works(1)
    node.node.control("another", TaskStatus.CANCELLED)
    node.node.control(SUBTASK, TaskStatus.PAUSED)
    eventually(lambda: hub.statuses == [1, 2])
    node.node.control(SUBTASK, TaskStatus.RUNNING)
    eventually(lambda: hub.statuses == [1, 2, 1])
    node.node.control(SUBTASK, TaskStatus.CANCELLED)
    assert node.end().fate is Fate.DONE
    assert hub.statuses == [1, 2, 1, 4]


def test_control_that_comes_before_the_run_is_made_up_for(
    cluster: Cluster, hub: StrictDatahub
) -> None:
    node = cluster.node(Travels, "a")
    with node.node.attempting("another"):
        cluster.dead()  # so that a second passes before it is taken
        node.begin()
        eventually(lambda: len(node.node._attempts) == 2)
        node.node.control(SUBTASK, TaskStatus.CANCELLED)
        assert node.end().fate is Fate.DONE
    assert hub.statuses[-1] == 4


def test_a_drain_waits_for_what_ends_in_time(cluster: Cluster, hub: StrictDatahub) -> None:
    node = cluster.node(Travels, "a", drain_seconds=60)
    node.begin()
    node.works(1)
    ended = drained(node)
    eventually(node.node.draining.is_set)
    node.go()
    assert node.end().fate is Fate.DONE
    eventually(lambda: ended == [True])
    assert hub.statuses == [1, 3]


def test_a_drain_gives_back_what_does_not(cluster: Cluster, hub: StrictDatahub) -> None:
    node = cluster.node(Travels, "a", drain_seconds=0)
    node.begin()
    node.works(1)
    ended = drained(node)
    assert node.end().fate is Fate.BACK
    eventually(lambda: ended == [True])
    assert hub.statuses == [1]
    sight = cluster.store.look(SUBTASK)
    assert sight is not None
    assert not sight.held


def test_another_signal_ends_the_patience(cluster: Cluster) -> None:
    node = cluster.node(Travels, "a", drain_seconds=600, grace_seconds=600)
    node.begin()
    node.works(1)
    ended = drained(node)
    eventually(node.node.draining.is_set)
    node.node.hurry(signal.SIGTERM)
    assert node.end().fate is Fate.BACK
    eventually(lambda: ended == [True])


def test_the_others_know_what_it_does(cluster: Cluster) -> None:
    node = cluster.node(Travels, "a")

    def record() -> NodeRecord:
        (found,) = cluster.store.nodes()
        return found

    node.node.open()
    assert (record().name, record().running, record().draining) == (node.node.name, (), False)
    assert abs(record().clock) < 1
    node.begin()
    node.works(1)
    eventually(lambda: record().running == (SUBTASK,))
    node.go()
    node.end()
    eventually(lambda: record().ended == {"completed": 1})
    assert record().running == ()
    node.node.drain(signal.SIGTERM)
    eventually(lambda: record().draining)
    beats = record().beats
    eventually(lambda: record().beats > beats)
    node.node.close()
    assert cluster.store.nodes() == []


def test_it_says_once_that_nobody_hears_of_it(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    node = cluster.node(Travels, "a")
    node.node.open()
    with caplog.at_level(logging.INFO, "datahub.node"):
        node.wire.is_cut.set()
        eventually(lambda: node.wire.refused.count("beat") >= 2)
        node.wire.is_cut.clear()
        eventually(lambda: len(caplog.records) == 2)
    node.node.close()
    assert [record.getMessage() for record in caplog.records] == [
        "the others do not hear of this node: the network is cut",
        "the others hear of this node again",
    ]
