"""What is said to be with the broker is there, and all else is told."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kombu import serialization
from kombu.transport.pyamqp import Channel, Connection

from plugin_framework.engines.celery.app import SERIALIZER, TASK, make_app
from plugin_framework.engines.celery.broker import Broker
from plugin_framework.engines.celery.publisher import BATCH, Outgoing, Publisher
from plugin_framework.engines.celery.queues import waiting
from plugin_framework.engines.cluster.message import LIMIT, Message, message_id
from plugin_framework.errors import (
    BrokerUnavailableError,
    ClusterConfigurationError,
    Code,
    InvalidConfigError,
)
from plugin_framework.settings import Settings
from tests.cluster.rabbitmq import RabbitMQ
from tests.engines.celery.conftest import settings_for
from tests.free_ports import free_port


@pytest.fixture
def publisher(settings: Settings, broker: Broker) -> Iterator[Publisher]:
    made = Publisher(broker, make_app(settings), "test")
    yield made
    made.close()


@pytest.fixture
def connection(broker: Broker) -> Iterator[Connection]:
    made = broker.connect("test")
    yield made
    made.collect()


@pytest.fixture
def queue(new_queue: Callable[[], str]) -> str:
    return new_queue()


def outgoing(queue: str, number: int = 0, **config: Any) -> Outgoing:
    return Outgoing(queue, Message(f"subtask-{number}", None, "test", config))


def taken(channel: Channel, queue: str) -> Any:
    message = channel.basic_get(queue, no_ack=True)
    assert message is not None
    return message


def test_a_thousand_are_safe_in_well_under_three_seconds(
    publisher: Publisher, connection: Connection, queue: str
) -> None:
    began = time.monotonic()
    answers = publisher.publish([outgoing(queue, number, word="cat") for number in range(1000)])
    seconds = time.monotonic() - began
    assert list(answers) == [f"subtask-{number}" for number in range(1000)]
    assert set(answers.values()) == {None}
    assert waiting(connection, queue) == 1000
    assert seconds < 3


def test_a_message_is_plain_json_and_kept_on_disk(
    publisher: Publisher, connection: Connection, queue: str
) -> None:
    """Celery's own JSON would make something else of such a config."""
    odd = {"__type__": "uuid", "__value__": "x"}
    config: dict[str, Any] = {"a": odd, "é": [1, None, "\x00\ud800"]}
    assert publisher.publish([outgoing(queue, **config)]) == {"subtask-0": None}
    message = taken(connection.channel(), queue)
    accepted = serialization.prepare_accept_content([SERIALIZER])
    body = serialization.loads(
        message.body, message.content_type, message.content_encoding, accepted
    )
    assert body[:2] == [[], Message("subtask-0", None, "test", config).as_json()]
    assert message.properties["delivery_mode"] == 2
    assert message.properties["correlation_id"] == message_id("subtask-0")
    assert message.headers["task"] == TASK
    assert message.headers["argsrepr"] == message.headers["kwargsrepr"] == ""


def test_a_config_that_is_too_long_is_told_and_hinders_no_other(
    publisher: Publisher, connection: Connection, queue: str
) -> None:
    answers = publisher.publish([outgoing(queue, 1, word="x" * LIMIT), outgoing(queue, 2)])
    assert isinstance(answers["subtask-1"], InvalidConfigError)
    assert answers["subtask-2"] is None
    assert waiting(connection, queue) == 1
    assert publisher.problem is None


def test_a_queue_of_another_type_is_told_and_hinders_no_other(
    publisher: Publisher, connection: Connection, new_queue: Callable[[], str]
) -> None:
    wrong, right = new_queue(), new_queue()
    connection.channel().queue_declare(wrong, durable=True, auto_delete=False)
    answers = publisher.publish([outgoing(wrong, 1), outgoing(right, 2), outgoing(wrong, 3)])
    error = answers["subtask-1"]
    assert isinstance(error, ClusterConfigurationError)
    assert error.code == Code.QUEUE_WRONG
    assert answers["subtask-2"] is None
    assert (waiting(connection, wrong), waiting(connection, right)) == (0, 1)


def test_a_queue_that_was_deleted_is_made_again(
    publisher: Publisher, connection: Connection, queue: str
) -> None:
    assert publisher.publish([outgoing(queue)]) == {"subtask-0": None}
    connection.channel().queue_delete(queue)
    answers = publisher.publish([outgoing(queue, 1), outgoing(queue, 2)])
    assert all(isinstance(each, BrokerUnavailableError) for each in answers.values())
    assert "has lost the queue" in str(answers["subtask-1"])
    assert publisher.publish([outgoing(queue, 1)]) == {"subtask-1": None}
    assert waiting(connection, queue) == 1


def test_a_connection_that_broke_meanwhile_is_made_again(publisher: Publisher, queue: str) -> None:
    assert publisher.publish([outgoing(queue)]) == {"subtask-0": None}
    before = publisher._line._connection
    assert before is not None
    before.sock.shutdown(socket.SHUT_RDWR)
    assert publisher.publish([outgoing(queue, 1)]) == {"subtask-1": None}
    assert publisher._line._connection is not before


def test_without_a_broker_each_is_told_at_once() -> None:
    settings = settings_for(f"amqp://127.0.0.1:{free_port()}")
    publisher = Publisher(Broker(settings), make_app(settings), "test")
    answers = publisher.publish([outgoing("q", number) for number in range(3 * BATCH)])
    assert len(answers) == 3 * BATCH
    assert {type(each) for each in answers.values()} == {BrokerUnavailableError}
    assert publisher.problem is not None
    publisher.close()


def test_a_broker_that_is_nearly_full_is_told_and_taken_up_again(
    rabbitmq: RabbitMQ, publisher: Publisher, connection: Connection, queue: str
) -> None:
    assert publisher.publish([outgoing(queue)]) == {"subtask-0": None}
    rabbitmq.control("set_vm_memory_high_watermark", "absolute", "1")
    try:
        for _ in range(2):
            answers = publisher.publish([outgoing(queue, number) for number in range(1, BATCH)])
            assert {type(each) for each in answers.values()} == {BrokerUnavailableError}
            assert "takes no messages now" in str(publisher.problem)
    finally:
        rabbitmq.control("set_vm_memory_high_watermark", "0.4")
    deadline = time.monotonic() + 10
    while publisher.publish([outgoing(queue, 1)]) != {"subtask-1": None}:
        assert time.monotonic() < deadline
    assert publisher.problem is None


def test_a_broker_that_hangs_is_not_waited_for_for_ever(
    rabbitmq: RabbitMQ,
    publisher: Publisher,
    connection: Connection,
    queue: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("plugin_framework.engines.celery.broker.ANSWER_SECONDS", 0.3)
    assert publisher.publish([outgoing(queue)]) == {"subtask-0": None}
    os.kill(rabbitmq.pid, signal.SIGSTOP)
    try:
        answers = publisher.publish([outgoing(queue, 1)])
    finally:
        os.kill(rabbitmq.pid, signal.SIGCONT)
    assert isinstance(answers["subtask-1"], BrokerUnavailableError)
    assert f"does not confirm messages for queue {queue}" in str(answers["subtask-1"])
    assert str(publisher.problem) == str(answers["subtask-1"])
    monkeypatch.undo()
    assert publisher.publish([outgoing(queue, 1)]) == {"subtask-1": None}
    assert waiting(connection, queue) >= 2
