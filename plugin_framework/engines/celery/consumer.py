"""Celery's consumer, as this engine wants it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from amqp.exceptions import AMQPError, PreconditionFailed
from celery.exceptions import WorkerShutdown
from celery.worker.state import maybe_shutdown
from kombu.exceptions import OperationalError

from plugin_framework.engines.celery.bases import Consumer, Control, Pidbox
from plugin_framework.engines.celery.envelope import drop
from plugin_framework.engines.celery.turns import Turns
from plugin_framework.errors import DatahubError, Problem

RECONNECT_SECONDS = 1.0
"""Between two tries to reach a broker that is away."""

log: logging.Logger = logging.getLogger("datahub.worker")

_Step = Callable[[Any], None]


class FreshPidbox(Pidbox):
    """Takes our one command and none of Celery's, from a queue of each connection's own.

    The broker may not know yet that the connection before is gone, and would not let go of a queue
    of the same name.
    """

    def __init__(self, consumer: Any) -> None:
        super().__init__(consumer)
        self._connections = 0
        self.node.handlers = consumer.controller.handlers

    def start(self, consumer: Any) -> None:
        """Listen; Celery's contract."""
        self._connections += 1
        self.node.hostname = f"{self.hostname}.{self._connections}"
        super().start(consumer)


class PlainControl(Control):
    """The step that listens for commands."""

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self.box: FreshPidbox = FreshPidbox(consumer)
        self.start: _Step = self.box.start
        self.stop: _Step = self.box.stop
        self.shutdown: _Step = self.box.shutdown


def _steps(blueprint: Any) -> list[Any]:
    """Celery's, without the 28 queues for what is due later, and with our control."""
    left_out = ("delayed_delivery:DelayedDelivery", "control:Control")
    kept = [step for step in blueprint.default_steps if not str(step).endswith(left_out)]
    return [*kept, PlainControl]


class PlainConsumer(Consumer):
    """Consumes our queues; reconnects each second, for ever, and says so once.

    Its ``controller`` is a ``machine.Machine``.
    """

    class Blueprint(Consumer.Blueprint):
        """The steps of a connection."""

        default_steps: list[Any] = _steps(Consumer.Blueprint)

    _lost = False

    def create_task_handler(self, *given: Any, **options: Any) -> Any:
        """What takes a message; Celery's contract."""
        receive = super().create_task_handler(*given, **options)
        self.controller.turns = Turns(
            self, receive, slots=self.controller.concurrency, ended=self.controller.draining.is_set
        )
        return self.controller.turns.receive

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """A message is not what its headers say; Celery's contract."""
        drop(message, f"it cannot be unpacked ({type(exc).__name__})")

    def ensure_connected(self, connection: Any) -> Any:
        """Connect, and see that the queues are there; Celery's contract."""
        while True:
            maybe_shutdown()
            meaning = self.controller.broker.unwelcome
            try:
                connection.connect()
                meaning = self.controller.broker.refusal
                self.controller.declare(connection)
            except (OSError, AMQPError, OperationalError) as error:
                self._say_lost(meaning(error))
                connection.collect()
                threading.Event().wait(RECONNECT_SECONDS)
            else:
                break
        if self._lost:
            self._lost = False
            log.info("connected to the broker again")
        self.first_connection_attempt = False
        return connection

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Something failed while the consumer was set up; Celery's contract."""
        self._say_lost(self.controller.broker.refusal(exc))

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """The connection or the channel is gone; Celery's contract."""
        if isinstance(exc, PreconditionFailed) and self.controller.refused(exc):
            raise WorkerShutdown(2)
        self._say_lost(self.controller.broker.refusal(exc))
        super().on_connection_error_after_connected(exc)

    def _say_lost(self, error: DatahubError) -> None:
        if not self._lost:
            self._lost = True
            log.warning("%s", Problem(f"{error}; it is tried again each second", error.code))
