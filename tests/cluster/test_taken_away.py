"""RabbitMQ takes a subtask away that runs for longer than its consumer_timeout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.processes import until
from tests.cluster.rabbitmq import RabbitMQ

USAGE = 2
SECONDS = 6


@pytest.fixture
def impatient(broker: RabbitMQ) -> Iterator[None]:
    """A broker that looks each second, in place of each minute, how long a delivery takes."""
    _set_tick(broker, 1000)
    broker.set_consumer_timeout(SECONDS)
    yield
    broker.set_consumer_timeout(1800)
    _set_tick(broker, 60_000)


def _set_tick(broker: RabbitMQ, milliseconds: int) -> None:
    """For channels from now on."""
    broker.control("eval", f"application:set_env(rabbit, channel_tick_interval, {milliseconds}).")


@pytest.mark.cluster
@pytest.mark.usefixtures("impatient")
def test_what_is_taken_away_ends_where_it_runs_and_the_others_are_told(
    cluster: Cluster, tmp_path: Path
) -> None:
    let = tmp_path / "let"
    service = cluster.service("Work")
    first = cluster.worker("one", "Work", drain_seconds="60")
    subtasks = cluster.create(service, "Work", {"until": str(let)}, count=2)
    cluster.wait_for_runs(2)
    second = cluster.worker("two", "Work")
    waiting = cluster.create(service, "Work", {"seconds": 0.1})
    told = first.said(f"consumer_timeout of {SECONDS} s is over")
    assert told["code"] == "DH-605", told
    cluster.ledger.wait_for_end(waiting)  # what it does not take any more is taken elsewhere
    second.said("runs at one-", times=2)  # what was taken away comes to it, and is let alone
    assert first.process.poll() is None
    let.touch()
    cluster.ledger.wait_for_end(subtasks)
    assert first.end() == USAGE, first.shown
    assert cluster.ledger.wrongs([*subtasks, *waiting]) == []
    assert [run.attempt for each in subtasks for run in cluster.runs(each)] == [1, 1]
    assert second.process.poll() is None
    until(lambda: cluster.depth("Work") == 0, "an empty queue")
    third = cluster.worker("three", "Work", ready=False)
    assert third.end() == USAGE, third.shown
    assert third.found("as RabbitMQ said to a worker")[0]["code"] == "DH-605"
