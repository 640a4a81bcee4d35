"""The engine as the service uses it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kombu import Connection

from plugin_framework.engines.celery.app import MANAGE, make_app
from plugin_framework.engines.celery.broker import Broker
from plugin_framework.engines.celery.engine import CeleryEngine
from plugin_framework.engines.cluster.resources import Needs
from plugin_framework.engines.remote import Handed, RemoteEngine
from plugin_framework.errors import BrokerUnavailableError, Code
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.settings import Settings
from tests.cluster.rabbitmq import RabbitMQ
from tests.engines.celery.conftest import settings_for
from tests.free_ports import free_port


@pytest.fixture
def plugin(new_queue: Callable[[], str]) -> str:
    return new_queue().split(".")[1]


@pytest.fixture
def engine(settings: Settings, plugin: str) -> Iterator[CeleryEngine]:
    made = CeleryEngine(settings, {plugin: Needs()})
    yield made
    made.close()


@pytest.fixture
def away(plugin: str) -> Iterator[CeleryEngine]:
    made = CeleryEngine(settings_for(f"amqp://127.0.0.1:{free_port()}"), {plugin: Needs()})
    yield made
    made.close()


def batch(plugin: str, count: int) -> list[Handed]:
    return [Handed(f"subtask-{number}", None, plugin, '{"a": 1}') for number in range(count)]


def test_it_is_a_remote_engine(engine: CeleryEngine) -> None:
    remote: RemoteEngine = engine
    assert remote.name == "celery"


def test_what_is_handed_over_waits_in_the_plugins_queue_and_nowhere_else(
    rabbitmq: RabbitMQ, engine: CeleryEngine, plugin: str
) -> None:
    assert engine.depth(plugin) == 0
    assert engine.hand_over(batch(plugin, 3)) == dict.fromkeys(
        ("subtask-0", "subtask-1", "subtask-2")
    )
    assert engine.depth(plugin) == 3
    assert engine.problem() is None
    names = rabbitmq.control("list_queues", "-p", "test", "name").split()
    assert f"datahub.{plugin}.c1" in names
    assert [name for name in names if "celery" in name] == []


def test_control_reaches_every_worker(engine: CeleryEngine, settings: Settings) -> None:
    heard: list[tuple[str, dict[str, Any]]] = []
    app = make_app(settings)
    with app.connection_for_read() as connection:
        for name in ("one@datahub", "two@datahub"):
            listen(app, connection, name, heard)
        began = time.monotonic()
        engine.control("subtask-1", TaskStatus.CANCELLED)
        while len(heard) < 2:
            connection.drain_events(timeout=5)
        assert time.monotonic() - began < 1
    told = {"subtask_id": "subtask-1", "status": 4}
    assert sorted(heard, key=lambda each: each[0]) == [("one@datahub", told), ("two@datahub", told)]


def listen(
    app: Any, connection: Connection, name: str, heard: list[tuple[str, dict[str, Any]]]
) -> None:
    """As a Celery worker listens for commands."""
    node = app.control.mailbox(connection).Node(name, channel=connection.channel())
    node.handlers[MANAGE] = lambda _state, **fields: heard.append((name, fields))
    node.listen()


def test_without_a_broker_it_says_why_and_raises_nothing(away: CeleryEngine, plugin: str) -> None:
    assert away.problem() is None
    assert away.depth(plugin) is None
    problem = away.problem()
    assert problem is not None
    assert problem.code == Code.BROKER_UNREACHABLE
    error = away.hand_over(batch(plugin, 1))["subtask-0"]
    assert isinstance(error, BrokerUnavailableError)
    away.control("subtask-0", TaskStatus.PAUSED)


def test_what_was_wrong_is_forgotten_once_it_is_right(
    engine: CeleryEngine, plugin: str, broker: Broker
) -> None:
    connection = broker.connect("test")
    queue = f"datahub.{plugin}.c1"
    connection.channel().queue_declare(queue, durable=True, auto_delete=False)
    error = engine.hand_over(batch(plugin, 1))["subtask-0"]
    assert error is not None
    assert error.code == Code.QUEUE_WRONG
    connection.channel().queue_delete(queue)
    connection.collect()
    assert engine.hand_over(batch(plugin, 1)) == {"subtask-0": None}
    assert engine.problem() is None


def test_the_environment_of_another_celery_does_not_count(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "amqp://elsewhere.example.com")
    app = make_app(settings)
    for connection in (app.connection_for_read(), app.connection_for_write(), app.connection()):
        uri = connection.as_uri(include_password=True)
        assert Broker(settings).url == f"py{uri}"


def test_pickles_are_not_accepted(settings: Settings) -> None:
    assert set(make_app(settings).conf.accept_content) == {"json", "datahub-json"}
