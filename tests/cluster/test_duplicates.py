"""Messages come twice, and late: nothing is done twice for that."""

from __future__ import annotations

import pytest

from tests.cluster.amqp_client import queues_of
from tests.cluster.cluster import Cluster
from tests.cluster.processes import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


@pytest.mark.parametrize("cluster", ["journal", "redis", "postgres"], indirect=True)
def test_every_message_comes_three_times(cluster: Cluster) -> None:
    service = cluster.service("Work")
    subtasks = cluster.create(service, "Work", {"seconds": 0.3}, count=12)
    queue = cluster.queue("Work")
    with queues_of(cluster.broker) as queues:
        until(lambda: queues.depth(queue) == len(subtasks), "all in the queue")
        messages = queues.take_all(queue)
        for message in [*messages, *messages, *reversed(messages)]:
            queues.publish(queue, message)
        cluster.workers("one two", "Work")
        cluster.ledger.wait_for_end(subtasks)
        # And once more, when all is over.
        for message in messages:
            queues.publish(queue, message)
        until(lambda: queues.depth(queue) == 0, "an empty queue")
    last = cluster.create(service, "Work")
    cluster.ledger.wait_for_end(last)
    assert cluster.ledger.wrongs(subtasks) == []
    assert {len(cluster.runs(subtask)) for subtask in subtasks} == {1}
    assert cluster.ledger.repeats(subtasks) == 0


@pytest.mark.parametrize("cluster", ["redis"], indirect=True)
def test_messages_that_are_lost_are_published_again(cluster: Cluster) -> None:
    """The broker has forgotten everything: the service's journal says what is to be done."""
    service = cluster.service("Work")
    subtasks = cluster.create(service, "Work", count=5)
    with queues_of(cluster.broker) as queues:
        until(lambda: queues.depth(cluster.queue("Work")) == len(subtasks), "all in the queue")
        assert len(queues.take_all(cluster.queue("Work"))) == len(subtasks)
    cluster.worker("one", "Work")
    cluster.ledger.wait_for_end(subtasks)
    assert cluster.ledger.wrongs(subtasks) == []
    assert {len(cluster.runs(subtask)) for subtask in subtasks} == {1}
