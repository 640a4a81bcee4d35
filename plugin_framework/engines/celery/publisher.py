"""Puts messages into queues, and knows of each whether the broker has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from typing import Any, TypeAlias

import amqp
from amqp.exceptions import AccessRefused, PreconditionFailed
from celery import Celery
from kombu import serialization
from kombu.transport.pyamqp import Connection

from plugin_framework.engines.celery.app import SERIALIZER, TASK
from plugin_framework.engines.celery.broker import Broker, UnconfirmedError
from plugin_framework.engines.celery.line import Line
from plugin_framework.engines.celery.queues import declare
from plugin_framework.engines.cluster.message import LIMIT, Message, message_id
from plugin_framework.errors import (
    BrokerUnavailableError,
    DatahubError,
    InvalidConfigError,
)

BATCH = 500
"""Messages whose confirmations are waited for together."""

_KEPT = {"delivery_mode": 2}

_Settle: TypeAlias = Callable[[str, DatahubError | None], None]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message and the queue that it is for."""

    queue: str
    message: Message = field(repr=False)


class Publisher:
    """Publishes by one connection, of which callers take turns.

    ``problem`` is why the last message could not even be tried, if so.
    """

    def __init__(self, broker: Broker, app: Celery, name: str) -> None:
        self.problem: DatahubError | None = None
        self._line = Line(broker, name, partial(_Confirming, broker, app))

    def publish(self, batch: Sequence[Outgoing]) -> dict[str, DatahubError | None]:
        """Return, by subtask, None where the broker has the message on disk, else why not."""
        left = {each.message.subtask_id: each for each in batch}
        settled: dict[str, DatahubError | None] = {}

        def settle(subtask_id: str, problem: DatahubError | None) -> None:
            if left.pop(subtask_id, None) is not None:  # else the answer to a call before this
                settled[subtask_id] = problem

        try:
            while left:
                self._line.use(lambda session: session.publish(list(left.values())[:BATCH], settle))
        except DatahubError as error:
            self.problem = error
            settled.update(dict.fromkeys(left, error))
        else:
            self.problem = None
        return settled

    def close(self) -> None:
        """Close the connection."""
        self._line.close()


class _Confirming:
    """A connection whose messages are confirmed; many are on their way at once."""

    def __init__(self, broker: Broker, app: Celery, connection: Connection) -> None:
        self._broker = broker
        self._app = app
        self._connection = connection
        connection.on_blocked = self._on_blocked
        connection.on_unblocked = self._on_unblocked
        self._channel: amqp.Channel = connection.channel()
        self._channel.confirm_select()
        self._channel.events["basic_ack"].add(self._on_ack)
        self._channel.events["basic_nack"].add(self._on_nack)
        self._channel.events["basic_return"].add(self._on_return)
        self._declared: set[str] = set()
        self._unconfirmed: dict[int, Outgoing] = {}  # by delivery tag, in order
        self._returned: set[str] = set()
        self._tag = 0
        self._blocked = False
        self._settle: _Settle = _nobody

    def publish(self, batch: Sequence[Outgoing], settle: _Settle) -> None:
        """Publish these, and settle each once the broker has answered."""
        self._settle = settle
        last_of_before = self._tag
        try:
            self._hear_unblocked()
            for each in batch:
                self._send(each)
                self._stop_if_blocked()
            while next(reversed(self._unconfirmed), 0) > last_of_before:
                self._connection.drain_events()
                self._stop_if_blocked()
        except TimeoutError as error:
            for each in self._unconfirmed.values():
                refusal = self._broker.refusal(UnconfirmedError(each.queue))
                settle(each.message.subtask_id, refusal)
            if not self._unconfirmed:
                raise
            first = next(iter(self._unconfirmed.values()))
            raise UnconfirmedError(first.queue) from error
        finally:
            self._settle = _nobody

    def _send(self, outgoing: Outgoing) -> None:
        subtask_id = outgoing.message.subtask_id
        try:
            self._declare(outgoing.queue)
            content = _encoded(self._app, outgoing.message)
        except DatahubError as error:
            self._settle(subtask_id, error)
            return
        headers, properties, body, content_type, encoding = content
        message = self._channel.prepare_message(
            body, None, content_type, encoding, headers, properties
        )
        self._tag += 1
        self._unconfirmed[self._tag] = outgoing
        self._channel.basic_publish(message, routing_key=outgoing.queue, mandatory=True)

    def _declare(self, queue: str) -> None:
        if queue in self._declared:
            return
        try:
            declare(self._connection, queue)
        except (AccessRefused, PreconditionFailed) as error:
            raise self._broker.refusal(error) from None
        self._declared.add(queue)

    def _hear_unblocked(self) -> None:
        if self._blocked:
            with suppress(TimeoutError):
                while True:
                    self._connection.drain_events(timeout=0)
        self._stop_if_blocked()

    def _stop_if_blocked(self) -> None:
        """Leave it at that: what was sent is published once the alarm is over."""
        if self._blocked:
            raise BrokerUnavailableError(
                f"the broker at {self._broker.address} takes no messages now: its memory or its"
                " disk is nearly full"
            )

    def _on_blocked(self, _: str) -> None:
        self._blocked = True

    def _on_unblocked(self) -> None:
        self._blocked = False

    def _on_return(self, _: Exception, __: str, queue: str, message: amqp.Message) -> None:
        self._declared.discard(queue)
        self._returned.add(message.properties["correlation_id"])

    def _on_ack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - as it is called
        for subtask_id in self._answered(tag, multiple=multiple):
            returned = message_id(subtask_id) in self._returned
            self._returned.discard(message_id(subtask_id))
            self._settle(subtask_id, self._not_kept("has lost the queue") if returned else None)

    def _on_nack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - as it is called
        for subtask_id in self._answered(tag, multiple=multiple):
            self._settle(subtask_id, self._not_kept("could not keep the message"))

    def _answered(self, tag: int, *, multiple: bool) -> list[str]:
        """The subtasks that an answer is about."""
        earlier = takewhile(lambda each: each < tag, self._unconfirmed) if multiple else ()
        tags = [each for each in (*earlier, tag) if each in self._unconfirmed]
        return [self._unconfirmed.pop(each).message.subtask_id for each in tags]

    def _not_kept(self, what: str) -> BrokerUnavailableError:
        return BrokerUnavailableError(f"the broker at {self._broker.address} {what}")


def _encoded(app: Celery, message: Message) -> tuple[dict[str, Any], dict[str, Any], str, str, str]:
    """Headers, properties, body, and the body's content type and encoding, as Celery has them.

    Raises:
        InvalidConfigError: it is longer than a message may be.
    """
    # Without words on the arguments, which Celery would write into the headers and the log.
    made = app.amqp.create_task_message(
        message_id(message.subtask_id),
        TASK,
        kwargs=message.as_json(),
        argsrepr="",
        kwargsrepr="",
        ignore_result=True,
    )
    content_type, encoding, body = serialization.dumps(made.body, SERIALIZER)
    if len(body.encode()) > LIMIT:
        raise InvalidConfigError(
            f"subtask {message.subtask_id}: its config is too long: expected at most {LIMIT} bytes"
        )
    return made.headers, {**made.properties, **_KEPT}, body, content_type, encoding


def _nobody(_: str, __: DatahubError | None) -> None:
    """What is answered to nobody's question any more."""
