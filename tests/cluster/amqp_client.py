"""Looks into a broker's queues, and puts into them what it likes, by nothing but AMQP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

import amqp


class Queues:
    """Those of one virtual host."""

    def __init__(self, connection: amqp.Connection) -> None:
        self._connection = connection

    def depth(self, name: str) -> int:
        """Messages that nobody has taken; 0 where there is no such queue."""
        channel = self._connection.channel()
        try:
            found: int = channel.queue_declare(name, passive=True).message_count
        except amqp.NotFound:
            return 0
        channel.close()
        return found

    def take_all(self, name: str) -> list[amqp.Message]:
        """All messages, which are in the queue no more."""
        channel = self._connection.channel()
        found = []
        while (message := channel.basic_get(name)) is not None:
            message.channel.basic_ack(message.delivery_tag)
            found.append(message)
        channel.close()
        return found

    def publish(self, name: str, message: amqp.Message) -> None:
        """A message as it was taken."""
        channel = self._connection.channel()
        channel.confirm_select()
        again = amqp.Message(message.body, **message.properties)
        channel.basic_publish_confirm(again, routing_key=name)
        channel.close()


@contextmanager
def queues_of(url: str) -> Iterator[Queues]:
    """The queues at a broker's URL."""
    parts = urlsplit(url)
    connection = amqp.Connection(
        f"{parts.hostname}:{parts.port}",
        userid=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        virtual_host=unquote(parts.path[1:]),
    )
    connection.connect()
    try:
        yield Queues(connection)
    finally:
        connection.close()
