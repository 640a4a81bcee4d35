"""Celery's part of a worker, as a process, with a real broker."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import amqp
import pytest

from plugin_framework.engines.celery.app import make_app
from plugin_framework.engines.celery.broker import Broker
from plugin_framework.engines.celery.engine import CeleryEngine
from plugin_framework.engines.celery.publisher import Outgoing, Publisher
from plugin_framework.engines.cluster.message import Message
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.settings import Settings
from tests.cluster.amqp_client import queues_of
from tests.cluster.processes import ROOT, environment, until
from tests.cluster.rabbitmq import RabbitMQ


class Process:
    """``machine.py`` as a process; ``said`` is what it has printed so far."""

    def __init__(self, name: str, url: str, slots: int, queues: Sequence[str]) -> None:
        self.said: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.engines.celery.machine", name, str(slots), *queues],
            cwd=ROOT,
            env=environment(DATAHUB_ENGINE="celery", DATAHUB_BROKER_URL=url),
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        until(lambda: "ready " in self.said, "it consumes")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def has(self, what: str) -> list[str]:
        """The ids of the subtasks that it said this of."""
        return [line.split()[1] for line in self.said if line.startswith(f"{what} s")]

    def stop(self) -> int:
        """Tell it to end; returns its exit code."""
        self._process.terminate()
        return self._process.wait(30)

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.said.append(line.removesuffix("\n"))
        self._process.stdout.close()


Publish = Callable[[str, str, float], bool]


@pytest.fixture
def publish(settings: Settings, broker: Broker) -> Iterator[Publish]:
    publisher = Publisher(broker, make_app(settings), "test")

    def publish(queue: str, subtask_id: str, seconds: float) -> bool:
        message = Message(subtask_id, None, "waiter", {"seconds": seconds})
        return publisher.publish([Outgoing(queue, message)]) == {subtask_id: None}

    yield publish
    publisher.close()


@pytest.fixture
def machine(rabbitmq: RabbitMQ) -> Callable[..., Process]:
    return lambda name, queues, slots=1: Process(name, rabbitmq.url(), slots, queues)


def test_each_message_comes_once_and_is_gone_when_its_run_is_over(
    machine: Callable[..., Process], publish: Publish, new_queue: Callable[[], str]
) -> None:
    queue = new_queue()
    for number in range(6):
        assert publish(queue, f"s{number}", 0.01)
    with machine("one", [queue], 2) as one:
        until(lambda: len(one.has("ended")) == 6, "all are run")
        assert one.stop() == 0
    with machine("two", [queue], 2) as two:
        assert publish(queue, "s-last", 0)
        until(lambda: two.has("ended") == ["s-last"], "what comes later is run")
    assert sorted(one.has("began")) == [f"s{number}" for number in range(6)]


def test_a_busy_one_of_several_queues_keeps_nothing_from_the_others(
    machine: Callable[..., Process], publish: Publish, new_queue: Callable[[], str]
) -> None:
    queues = [new_queue(), new_queue()]
    with machine("busy", queues) as busy:
        assert publish(queues[0], "s-long", 60)
        until(lambda: busy.has("began") == ["s-long"], "the first is run")
        assert publish(queues[1], "s-other", 0)
        with machine("idle", queues) as idle:
            until(lambda: idle.has("ended") == ["s-other"], "the other queue's is run elsewhere")
        assert busy.has("began") == ["s-long"]


def test_of_several_queues_each_has_its_turn(
    machine: Callable[..., Process], publish: Publish, new_queue: Callable[[], str]
) -> None:
    queues = [new_queue(), new_queue(), new_queue()]
    for queue, name in zip(queues, "abc", strict=True):
        for number in range(4):
            assert publish(queue, f"s{name}{number}", 0.01)
    with machine("one", queues) as one:
        until(lambda: len(one.has("ended")) == 12, "all are run")
    assert len(set(one.has("began"))) == 12
    assert {subtask_id[1] for subtask_id in one.has("began")[:7]} == {"a", "b", "c"}


def test_it_takes_our_commands_and_none_of_celerys(
    machine: Callable[..., Process], settings: Settings, new_queue: Callable[[], str]
) -> None:
    engine = CeleryEngine(settings, {})
    with machine("one", [new_queue()]) as one:
        make_app(settings).control.broadcast("shutdown")
        engine.control("s1", TaskStatus.CANCELLED)
        until(lambda: one.has("told") == ["s1"], "it is told")
        assert one.stop() == 0
    engine.close()


def strangers(ours: amqp.Message) -> Iterator[amqp.Message]:
    """Messages that are like ours in all but one thing."""

    def other(body: str = ours.body, **properties: Any) -> amqp.Message:
        return amqp.Message(body.encode("latin-1"), **{**ours.properties, **properties})

    arguments, fields, embedded = json.loads(ours.body)
    headers = ours.properties["application_headers"]
    for body in (5, [], {"a": 1}, "text", [arguments, fields, 5], [arguments, [fields], embedded]):
        yield other(json.dumps(body))
    yield other(json.dumps([[1], fields, embedded]))
    yield other(json.dumps([arguments, fields, {"chain": [{"task": "other", "args": []}]}]))
    yield from (other("no json"), other("[" * 100_000), other("\xff"))
    yield other(content_type="application/x-python-serialize")
    yield other(application_headers={})
    for changes in (
        {"task": "other"},
        {"task": 5},
        {"task": ["datahub.run"]},
        {"id": None},
        {"id": {"a": 1}},
        {"compression": "unknown"},
    ):
        yield other(application_headers={**headers, **changes})
    nothing = {name: value for name, value in headers.items() if name not in {"task", "id"}}
    yield other(application_headers={**nothing, "task": "other"})
    yield other(application_headers={**nothing, "task": headers["task"]})


HEADERS: Sequence[Mapping[str, object]] = (
    {"eta": "2099-01-01T00:00:00+00:00"},
    {"eta": 5},
    {"expires": "2001-01-01T00:00:00+00:00"},
    {"retries": "x", "timelimit": "x"},
    {"stamped_headers": 5, "stamps": 7},
    {"ignore_result": False, "shadow": 5, "group": 5, "origin": 5},
)
"""What Celery acts on, or cannot bear, and nobody has asked it for."""


def test_messages_that_are_not_ours_hinder_nobody(
    rabbitmq: RabbitMQ,
    machine: Callable[..., Process],
    publish: Publish,
    new_queue: Callable[[], str],
) -> None:
    queue = new_queue()
    assert publish(queue, "s-ours", 0)
    with queues_of(rabbitmq.url()) as queues:
        (ours,) = queues.take_all(queue)
        for stranger in strangers(ours):
            queues.publish(queue, stranger)
        for changes in HEADERS:
            headers = {**ours.properties["application_headers"], **changes}
            whole = {**ours.properties, "application_headers": headers}
            queues.publish(queue, amqp.Message(ours.body, **whole))
        assert publish(queue, "s-last", 0)
        with machine("one", [queue]) as one:
            until(lambda: "s-last" in one.has("ended"), "what comes after them is run")
            assert one.stop() == 0
        assert one.has("ended") == [*("s-ours" for _ in HEADERS), "s-last"]
        assert queues.depth(queue) == 0


def are_on_disk(rabbitmq: RabbitMQ, queues: Sequence[str]) -> bool:
    """Whether the broker has written where the logs of queues are; it takes seconds to do so."""
    (names,) = rabbitmq._folder.glob("mnesia/*/quorum/*/names.dets")
    written = names.read_bytes()
    return all(queue.encode() in written for queue in queues)


def test_it_is_back_at_work_after_the_broker_was_killed(
    rabbitmq: RabbitMQ,
    machine: Callable[..., Process],
    publish: Publish,
    new_queue: Callable[[], str],
) -> None:
    queues = [new_queue(), new_queue()]
    with machine("one", queues, 2) as one:
        assert publish(queues[0], "s1", 0.01)
        until(lambda: one.has("ended") == ["s1"], "it is run")
        until(lambda: are_on_disk(rabbitmq, queues), "the broker will find the queues")
        rabbitmq.kill()
        rabbitmq.start()
        until(lambda: publish(queues[1], "s-last", 0.01), "it takes messages again")
        until(lambda: "s-last" in one.has("ended"), "what comes afterwards is run")
        assert one.stop() == 0
