"""Celery's part of a worker: the connection, the messages that come by it, and their threads."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from amqp.exceptions import PreconditionFailed
from celery.worker import state
from kombu import Connection

from plugin_framework.engines.celery.app import MANAGE, TASK, App
from plugin_framework.engines.celery.bases import TaskPool, WorkController
from plugin_framework.engines.celery.broker import Broker
from plugin_framework.engines.celery.queues import declare
from plugin_framework.engines.celery.turns import Delivery, Turns, Unacknowledged

FLUSH_SECONDS = 5.0
"""What acknowledgements may take at the end of a drain."""

log: logging.Logger = logging.getLogger("datahub.worker")


class Threads(TaskPool):
    """Threads of which none ends in silence: Celery asks nobody what they have raised."""

    def on_apply(self, *given: Any, callback: Any = None, **options: Any) -> Any:
        """Run something in a thread; Celery's contract."""
        result = super().on_apply(*given, callback=callback, **options)
        result.f.add_done_callback(partial(_drop_if_failed, callback.__self__))
        return result


def _drop_if_failed(delivery: Delivery, thread: Future[Any]) -> None:
    error = thread.exception()
    if error is not None:
        log.critical("a message cannot be run, and is dropped", exc_info=error)
        delivery.reject()


class Machine(WorkController):
    """Runs ``slots`` messages side by side, in threads, until it is told to ``end``.

    ``run`` is given each message's fields and whether it was delivered before, and acknowledges it
    by returning; ``manage`` is given the fields of a command, in Celery's loop. From when
    ``draining`` is set it begins none. ``refused`` is told of a message that RabbitMQ
    took back, and whether that is so by what it returns: then the machine ends with exit code 2,
    once what runs has ended. ``ready`` is called when messages may come for the first time.
    """

    def __init__(
        self,
        app: App,
        name: str,
        queues: Sequence[str],
        broker: Broker,
        *,
        slots: int,
        run: Callable[[Mapping[str, Any], bool], None],
        manage: Callable[[Mapping[str, Any]], None],
        draining: threading.Event,
        refused: Callable[[PreconditionFailed], bool],
        ready: Callable[[], None],
    ) -> None:
        self.broker: Broker = broker
        self.draining: threading.Event = draining
        self.refused: Callable[[PreconditionFailed], bool] = refused
        self.unacknowledged: Unacknowledged = Unacknowledged()
        self.turns: Turns | None = None
        self._ready = ready
        self._queues = queues
        self.handlers: dict[str, Callable[..., None]] = {
            MANAGE: lambda _state, **fields: manage(fields)
        }

        def begin(task: Any, /, **fields: Any) -> None:
            run(fields, bool(task.request.delivery_info["redelivered"]))

        app.task(begin, name=TASK, bind=True, lazy=False, Request=Delivery, worker=self)
        app.set_default()  # where the pool's threads look for the task
        super().__init__(
            app=app,
            hostname=f"{name}@datahub",
            pool_cls=Threads,
            concurrency=slots,
            queues=queues,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )

    def on_consumer_ready(self, consumer: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Messages may come; Celery's contract."""
        self._ready()

    def declare(self, connection: Connection) -> None:
        """See that the queues are there, on a new connection."""
        for queue in self._queues:
            declare(connection.connection, queue)

    def stop_consuming(self) -> None:
        """Take no more messages, and give back those that were not begun, for it is draining."""
        if self.turns is not None:
            self.consumer.call_soon(self.turns.settle)

    def end(self) -> None:
        """Let ``start`` return, once the broker has been sent all acknowledgements.

        Where the broker hangs it may not: it is asked to close the connection.
        """
        deadline = time.monotonic() + FLUSH_SECONDS
        self.unacknowledged.wait_for_none(FLUSH_SECONDS)
        # The loop does what it finds at a time in any order: what it was asked for before is done
        # when it finds something a second time, and not the first.
        for _ in range(2):
            if self.consumer.connection is not None:
                found = threading.Event()
                self.consumer.call_soon(found.set)
                found.wait(deadline - time.monotonic())
        state.should_stop = os.EX_OK
        self.consumer.call_soon(threading.Event().set)  # wakes it
