"""A connection that is there when it is needed, and not sought more often than is of use."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from kombu.transport.pyamqp import Connection

from plugin_framework.engines.celery.broker import Broker
from plugin_framework.engines.celery.line import Line
from plugin_framework.engines.celery.queues import waiting
from plugin_framework.errors import BrokerUnavailableError
from tests.engines.celery.conftest import settings_for


@pytest.fixture
def line(broker: Broker) -> Iterator[Line[Connection]]:
    made = Line(broker, "test", lambda connection: connection)
    yield made
    made.close()


def itself(connection: Connection) -> Connection:
    return connection


def test_one_connection_serves_until_it_breaks(line: Line[Connection]) -> None:
    first = line.use(itself)
    assert line.use(itself) is first
    first.sock.shutdown(socket.SHUT_RDWR)
    assert line.use(lambda connection: waiting(connection, "absent")) == 0
    assert line.use(itself) is not first


def test_one_that_met_an_unknown_error_is_used_no_more(line: Line[Connection]) -> None:
    first = line.use(itself)
    with pytest.raises(AttributeError):
        line.use(lambda connection: connection.is_no_attribute)
    assert not first.connected
    assert line.use(itself) is not first


def test_one_that_was_refused_something_goes_on(line: Line[Connection]) -> None:
    def refuse(_: Connection) -> None:
        raise BrokerUnavailableError("not now")

    first = line.use(itself)
    with pytest.raises(BrokerUnavailableError, match="not now"):
        line.use(refuse)
    assert line.use(itself) is first


def test_it_can_be_closed_twice_and_used_again(line: Line[Connection]) -> None:
    first = line.use(itself)
    line.close()
    line.close()
    assert not first.connected
    assert line.use(itself).connected


def test_a_broker_that_is_away_is_not_sought_by_every_call() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        settings = settings_for(f"amqp://127.0.0.1:{silent.getsockname()[1]}", connect_timeout=0.1)
        line = Line(Broker(settings), "test", itself)
        for _ in range(3):
            with pytest.raises(BrokerUnavailableError, match="does not answer in time"):
                line.use(itself)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()
