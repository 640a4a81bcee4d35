"""How long a message may stay with a worker: where that is known from, and what is made of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from amqp.exceptions import PreconditionFailed

from plugin_framework.engines.celery.broker import Broker
from plugin_framework.engines.celery.consumer_timeout import (
    ConsumerTimeout,
    consumer_timeout,
    learn,
    read_answer,
    timeout_in,
    too_short,
    warning,
)
from plugin_framework.engines.cluster.journal_store import JournalStore
from plugin_framework.engines.cluster.store import LeaseStore
from plugin_framework.errors import Code
from plugin_framework.journal.journal import Journal
from plugin_framework.settings import Settings
from tests.cluster.rabbitmq import RabbitMQ
from tests.engines.celery.conftest import settings_for
from tests.free_ports import free_port

HERE, THERE = "amqp://127.0.0.1", "amqp://mq.example.com"
OLD, NEW = (3, 10), (3, 12)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LeaseStore]:
    with closing(Journal(tmp_path / "journal.sqlite3")) as journal:
        yield JournalStore(journal)


@pytest.fixture
def no_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which no RabbitMQ runs."""
    monkeypatch.setenv("ERL_EPMD_PORT", str(free_port()))


def known(settings: Settings, version: tuple[int, int], store: LeaseStore) -> ConsumerTimeout:
    return consumer_timeout(Broker(settings), version, settings, store)


def test_consumers_ask_a_later_broker_for_theirs(store: LeaseStore) -> None:
    settings = settings_for(THERE, consumer_timeout=20)
    learn(store, settings, 20_000)
    found = known(settings, NEW, store)
    assert found.seconds is not None
    assert found.seconds > 24 * 86400
    assert too_short(found, "p", 86400, 30) is None
    assert warning(found, "p", 0) is None


@pytest.mark.parametrize("url", [HERE, THERE])
@pytest.mark.usefixtures("no_tool")
def test_else_it_is_the_setting(store: LeaseStore, url: str) -> None:
    assert known(settings_for(url), OLD, store).seconds == 1800
    found = known(settings_for(url, consumer_timeout=7200), OLD, store)
    assert found == ConsumerTimeout(7200.0, "as DATAHUB_CONSUMER_TIMEOUT says")
    assert known(settings_for(url, consumer_timeout=0), OLD, store).seconds is None


def test_what_a_worker_was_told_counts_until_the_setting_is_changed(store: LeaseStore) -> None:
    learn(store, settings_for(THERE), 20_000)
    found = known(settings_for(THERE), OLD, store)
    assert found == ConsumerTimeout(20.0, "as RabbitMQ said to a worker")
    assert known(settings_for(THERE, consumer_timeout=3600), OLD, store).seconds == 3600


def test_rabbitmqctl_is_believed_first(
    rabbitmq: RabbitMQ, settings: Settings, store: LeaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in rabbitmq.environment().items():
        monkeypatch.setenv(name, value)
    learn(store, settings, 7_000_000)
    assert known(settings, OLD, store) == ConsumerTimeout(1800.0, "as rabbitmqctl says")
    elsewhere = settings_for(f"amqp://127.0.0.1:{free_port()}")
    assert known(elsewhere, OLD, store).seconds == 7000


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("{{ok,20000},[25672,5672]}\n", 20.0),
        ("{{ok,undefined},\n [5672]}", None),
        ("{undefined,[5672]}", None),
    ],
)
def test_the_tools_answer(said: str, seconds: float | None) -> None:
    assert read_answer(said, 5672) == ConsumerTimeout(seconds, "as rabbitmqctl says")
    assert read_answer(said, 5673) is None


@pytest.mark.parametrize("said", ["", "Error: unable to perform an operation", "{ok,20000}"])
def test_another_answer_of_the_tool_is_none(said: str) -> None:
    assert read_answer(said, 5672) is None


def test_a_taken_message_is_told_apart_from_other_refusals() -> None:
    said = (
        "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used:"
        " 20000 ms. This timeout value can be configured, see consumers doc guide to learn more"
    )
    assert timeout_in(PreconditionFailed(said, (0, 0), reply_code=406)) == 20_000
    other = "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'a 5 ms'"
    assert timeout_in(PreconditionFailed(other, (50, 10), reply_code=406)) is None


def test_a_limit_that_does_not_fit_is_refused_with_the_remedy() -> None:
    problem = too_short(ConsumerTimeout(20.0, "as rabbitmqctl says"), "slow", 60, 30)
    assert problem is not None
    assert problem.code == Code.CONSUMER_TIMEOUT_SHORT
    assert problem == (
        "plugin slow may run 60 s, but RabbitMQ takes a subtask away after 20 s (as rabbitmqctl"
        " says): raise consumer_timeout in rabbitmq.conf to at least 660000 ms, or set the plugin's"
        " timeout_seconds below it"
    )


@pytest.mark.parametrize(
    ("seconds", "limit", "fits"),
    [
        (90.0, 60, True),
        (89.0, 60, False),
        (1800.0, 0, True),
        (1799.0, 0, False),
        (None, 0, True),
        (None, 10**6, True),
    ],
)
def test_what_fits(seconds: float | None, limit: float, *, fits: bool) -> None:
    assert (too_short(ConsumerTimeout(seconds, ""), "p", limit, 30) is None) is fits


def test_a_plugin_without_a_limit_is_warned_of() -> None:
    told = warning(ConsumerTimeout(1800.0, "as rabbitmqctl says"), "p", 0)
    assert told is not None
    assert "takes a subtask away after 1800 s" in told
    assert warning(ConsumerTimeout(1800.0, ""), "p", 60) is None
    assert warning(ConsumerTimeout(None, ""), "p", 0) is None


@pytest.mark.usefixtures("no_tool")
def test_no_name_server_is_left_behind(store: LeaseStore, settings: Settings) -> None:
    known(settings, OLD, store)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(os.environ["ERL_EPMD_PORT"])))
