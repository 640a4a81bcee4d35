"""The queues of plugins: declared here, and by nobody else."""

from __future__ import annotations

from typing import Any

from amqp import Channel
from amqp.exceptions import NotFound, PreconditionFailed
from kombu import Exchange, Queue
from kombu.transport.pyamqp import Connection

from plugin_framework.engines.celery.broker import version_of

CONSUMER_TIMEOUT_MS = 2**31 - 1
"""How long a delivery may stay unacknowledged, by what a consumer asks of RabbitMQ 3.12 and later:
24 days, the longest that all of them take."""

_QUORUM = {"x-queue-type": "quorum"}
_WITHOUT_DELIVERY_LIMIT = {**_QUORUM, "x-delivery-limit": -1}
_LIMITS_DELIVERIES = (4, 0)


def queue_of(name: str) -> Queue:
    """The queue as Celery is to consume it, and never to declare it."""
    return Queue(
        name,
        Exchange(""),
        routing_key=name,
        durable=True,
        queue_arguments=_QUORUM,
        consumer_arguments={"x-consumer-timeout": CONSUMER_TIMEOUT_MS},
        no_declare=True,
    )


def declare(connection: Connection, name: str) -> None:
    """Make sure that there is a quorum queue of that name.

    Raises:
        PreconditionFailed: there is one of another kind.
        AMQPError, OSError: the broker refused, or is gone.
    """
    *rest, last = _arguments(version_of(connection.server_properties))
    for arguments in rest:
        try:
            _declare(connection, name, arguments)
        except PreconditionFailed:  # an earlier RabbitMQ made it, with less
            continue
        return
    _declare(connection, name, last)


def is_there(connection: Connection, name: str) -> bool:
    """Whether there is such a queue; none is made.

    Raises:
        PreconditionFailed: there is one of another kind.
        AMQPError, OSError: the broker refused, or is gone.
    """
    if _count(connection, name) is None:
        return False
    declare(connection, name)
    return True


def waiting(connection: Connection, name: str) -> int:
    """How many messages wait there for a consumer; 0 if there is no such queue.

    Raises:
        AMQPError, OSError: the broker refused, or is gone.
    """
    return _count(connection, name) or 0


def _count(connection: Connection, name: str) -> int | None:
    channel = connection.channel()
    try:
        count = channel.queue_declare(name, passive=True).message_count
    except NotFound:  # which closed the channel
        return None
    channel.close()
    return int(count)


def _arguments(version: tuple[int, int]) -> list[dict[str, Any]]:
    """What a queue is declared with, the best first.

    RabbitMQ 4 drops a message at its 20th delivery unless it is told not to.
    """
    return [_WITHOUT_DELIVERY_LIMIT, _QUORUM] if version >= _LIMITS_DELIVERIES else [_QUORUM]


def _declare(connection: Connection, name: str, arguments: dict[str, Any]) -> None:
    channel: Channel = connection.channel()
    channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments)
    channel.close()
