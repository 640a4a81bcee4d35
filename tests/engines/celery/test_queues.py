"""What our queues are, and what becomes of others with their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from amqp.exceptions import AccessRefused, PreconditionFailed
from kombu.transport.pyamqp import Connection

from plugin_framework.engines.celery.broker import Broker
from plugin_framework.engines.celery.queues import declare, is_there, queue_of, waiting
from plugin_framework.errors import Code
from tests.cluster.rabbitmq import RabbitMQ
from tests.engines.celery.conftest import settings_for


@pytest.fixture
def connection(broker: Broker) -> Iterator[Connection]:
    made = broker.connect("test")
    yield made
    made.collect()


@pytest.fixture
def queue(new_queue: Callable[[], str]) -> str:
    return new_queue()


def test_it_is_a_quorum_queue_that_stays(
    rabbitmq: RabbitMQ, connection: Connection, queue: str
) -> None:
    declare(connection, queue)
    declare(connection, queue)
    listed = rabbitmq.control("list_queues", "-p", "test", "name", "type", "durable", "auto_delete")
    assert f"{queue}\tquorum\ttrue\tfalse" in listed.splitlines()


def test_one_that_is_not_there_is_not_made_by_asking(connection: Connection, queue: str) -> None:
    assert not is_there(connection, queue)
    assert waiting(connection, queue) == 0
    assert not is_there(connection, queue)
    declare(connection, queue)
    assert is_there(connection, queue)


def test_a_classic_queue_is_refused_in_one_line(
    broker: Broker, connection: Connection, queue: str
) -> None:
    connection.channel().queue_declare(queue, durable=True, auto_delete=False)
    with pytest.raises(PreconditionFailed) as caught:
        declare(connection, queue)
    refusal = broker.refusal(caught.value)
    assert refusal.code == Code.QUEUE_WRONG
    assert queue in str(refusal)
    assert "in place of the quorum queue that is needed: inequivalent arg" in str(refusal)
    assert "\n" not in str(refusal)
    with pytest.raises(PreconditionFailed):
        is_there(connection, queue)


def test_permissions_that_are_missing_are_told(
    rabbitmq: RabbitMQ, connection: Connection, queue: str
) -> None:
    rabbitmq.control("set_permissions", "-p", "test", "nobody", "^$", ".*", ".*")
    try:
        broker = Broker(settings_for(rabbitmq.url(user="nobody")))
        weak = broker.connect("test")
        with pytest.raises(AccessRefused) as caught:
            declare(weak, queue)
        weak.collect()
    finally:
        rabbitmq.control("clear_permissions", "-p", "test", "nobody")
    refusal = broker.refusal(caught.value)
    assert refusal.code == Code.VHOST_REFUSED
    assert "user 'nobody'" in str(refusal)


def test_what_an_earlier_broker_declared_is_taken_as_it_is(
    connection: Connection, queue: str
) -> None:
    """RabbitMQ 4 is asked for no delivery limit: refused here, as there for a queue of before."""
    connection.server_properties["version"] = "4.1.0"
    declare(connection, queue)
    assert is_there(connection, queue)


def test_celery_declares_nothing() -> None:
    queue = queue_of("datahub.x.c1")
    assert queue.no_declare
    assert queue.queue_arguments == {"x-queue-type": "quorum"}
    assert queue.consumer_arguments == {"x-consumer-timeout": 2_147_483_647}
