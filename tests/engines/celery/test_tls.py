"""With amqps, all that goes to the broker goes by TLS, ours and Celery's alike."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from plugin_framework.engines.celery.app import make_app
from plugin_framework.engines.celery.broker import Broker
from plugin_framework.engines.celery.engine import CeleryEngine
from plugin_framework.engines.cluster.resources import Needs
from plugin_framework.engines.remote import Handed
from plugin_framework.errors import BrokerUnavailableError
from plugin_framework.settings import Settings
from tests.cluster.rabbitmq import RabbitMQ
from tests.engines.celery.conftest import settings_for


@pytest.fixture
def secured(rabbitmq: RabbitMQ, tmp_path: Path) -> Iterator[Settings]:
    """Settings that lead to the broker by TLS, which is ended before it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with ending_tls(context, rabbitmq.port) as port:
        url = rabbitmq.url().replace("amqp:", "amqps:")
        url = url.replace(f"127.0.0.1:{rabbitmq.port}", f"localhost:{port}")
        yield settings_for(url, ca_bundle=tmp_path / "ca.pem")


def test_the_engine_hands_over_by_tls(secured: Settings) -> None:
    engine = CeleryEngine(secured, {"secured": Needs()})
    try:
        batch = [Handed(f"subtask-{number}", None, "secured", "{}") for number in range(100)]
        assert set(engine.hand_over(batch).values()) == {None}
        assert engine.depth("secured") == 100
    finally:
        engine.close()


def test_a_worker_connects_by_tls(secured: Settings) -> None:
    with make_app(secured).connection_for_read() as connection:
        connection.connect()
        assert isinstance(connection.connection.sock, ssl.SSLSocket)
        assert connection.connection.server_properties["product"] == "RabbitMQ"


def test_a_port_without_tls_is_told(rabbitmq: RabbitMQ) -> None:
    broker = Broker(settings_for(rabbitmq.url().replace("amqp:", "amqps:")))
    with pytest.raises(BrokerUnavailableError, match=r"no TLS is spoken there: amqp:// instead\?"):
        broker.connect("test")


@contextmanager
def ending_tls(context: ssl.SSLContext, port: int) -> Iterator[int]:
    """A port from which all goes on, in clear, to another of this machine."""
    with ExitStack() as made:
        listener = made.enter_context(socket.create_server(("127.0.0.1", 0)))
        thread = threading.Thread(target=_accept, args=(listener, context, port, made))
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _accept(listener: socket.socket, context: ssl.SSLContext, port: int, made: ExitStack) -> None:
    with suppress(OSError):  # until the listener is closed
        while True:
            inner = made.enter_context(socket.create_connection(("127.0.0.1", port)))
            outer = made.enter_context(context.wrap_socket(listener.accept()[0], server_side=True))
            for source, sink in ((outer, inner), (inner, outer)):
                thread = threading.Thread(target=_pump, args=(source, sink))
                thread.start()
                made.callback(thread.join)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):  # one of the two has hung up
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
