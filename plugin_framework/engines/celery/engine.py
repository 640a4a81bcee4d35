"""The engine: what the service hands over is brought to some node by RabbitMQ and Celery."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from kombu import Producer
from kombu.transport.pyamqp import Connection

from plugin_framework.engines.celery.app import MANAGE, App, make_app
from plugin_framework.engines.celery.broker import Broker
from plugin_framework.engines.celery.line import Line
from plugin_framework.engines.celery.publisher import Outgoing, Publisher
from plugin_framework.engines.celery.queues import waiting
from plugin_framework.engines.cluster.message import Message
from plugin_framework.engines.cluster.resources import Needs, queue_name
from plugin_framework.engines.remote import Handed
from plugin_framework.errors import DatahubError, Problem, problem_of
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.settings import Settings

# By Celery's clock and expiry; ours have neither.
_AT_ANY_TIME = {"clock": 0, "expires": 0}

log: logging.Logger = logging.getLogger("datahub.celery")


class CeleryEngine:
    """Hands over the subtasks of these plugins, by what each of them needs.

    Nothing is connected until it is used. See ``RemoteEngine``.
    """

    name = "celery"

    def __init__(self, settings: Settings, needs: Mapping[str, Needs]) -> None:
        broker = Broker(settings)
        here = f"datahub on {settings.node}"
        self._app = make_app(settings, name=here)
        self._queues = {plugin: queue_name(plugin, each) for plugin, each in needs.items()}
        self._publisher = Publisher(broker, self._app, f"{here}: messages")
        # Of its own each: neither questions nor control wait for a long batch.
        self._asking = Line(broker, f"{here}: queues", _itself)
        self._control = Line(broker, f"{here}: control", partial(_commands, self._app))
        self._controlling = ThreadPoolExecutor(1, thread_name_prefix="control")
        self._unanswered: DatahubError | None = None

    def hand_over(self, batch: Sequence[Handed]) -> dict[str, DatahubError | None]:
        """See ``RemoteEngine``; KeyError where the plugin is none of the engine's."""
        outgoing = [Outgoing(self._queues[each.plugin], Message.of(each)) for each in batch]
        return self._publisher.publish(outgoing)

    def control(self, subtask_id: str, status: TaskStatus) -> None:
        """See ``RemoteEngine``."""
        self._controlling.submit(self._broadcast, subtask_id, status)

    def depth(self, plugin: str) -> int | None:
        """See ``RemoteEngine``; KeyError where the plugin is none of the engine's."""
        try:
            count = self._asking.use(partial(waiting, name=self._queues[plugin]))
        except DatahubError as error:
            self._unanswered = error
            return None
        self._unanswered = None
        return count

    def problem(self) -> Problem | None:
        """See ``RemoteEngine``."""
        error = self._publisher.problem or self._unanswered
        return problem_of(error, str(error)) if error else None

    def close(self) -> None:
        """See ``RemoteEngine``."""
        self._controlling.shutdown(cancel_futures=True)
        self._publisher.close()
        self._asking.close()
        self._control.close()
        self._app.close()

    def _broadcast(self, subtask_id: str, status: TaskStatus) -> None:
        arguments = {"subtask_id": subtask_id, "status": int(status)}
        try:
            self._control.use(partial(_publish_command, arguments))
        except DatahubError as error:
            log.info("subtask %s is not told to be %s: %s", subtask_id, status.name.lower(), error)
        except Exception:
            log.exception("subtask %s is not told to be %s", subtask_id, status.name.lower())


def _itself(connection: Connection) -> Connection:
    return connection


def _commands(app: App, connection: Connection) -> Producer:
    """What publishes commands to all workers, as Celery's ``broadcast`` would.

    By a connection of ours, and without Celery's retries.
    """
    exchange = app.control.mailbox.exchange(connection.channel())
    exchange.declare()
    return Producer(exchange.channel, exchange, serializer="json", auto_declare=False)


def _publish_command(arguments: Mapping[str, object], commands: Producer) -> None:
    everywhere = dict.fromkeys(("destination", "pattern", "matcher"))
    commands.publish({"method": MANAGE, "arguments": arguments, **everywhere}, headers=_AT_ANY_TIME)
