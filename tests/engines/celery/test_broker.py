"""Connections, and one clear line for each that cannot be made."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from amqp.exceptions import ConnectionForced
from kombu import Connection as KombuConnection

from plugin_framework.engines.celery.broker import Broker, version_of
from plugin_framework.errors import (
    BrokerUnavailableError,
    ClusterConfigurationError,
    Code,
    DatahubError,
)
from tests.cluster.rabbitmq import PASSWORD, USER, RabbitMQ
from tests.engines.celery.conftest import settings_for
from tests.free_ports import free_port


def refused(url: str, **settings: Any) -> DatahubError:
    """The one line that connecting there comes to, which tells no password."""
    with pytest.raises(DatahubError) as caught:
        Broker(settings_for(url, **settings)).connect("test")
    line = str(caught.value)
    assert "\n" not in line
    assert PASSWORD not in line
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    return caught.value


def test_it_connects_and_is_listed_by_its_name(rabbitmq: RabbitMQ, broker: Broker) -> None:
    connection = broker.connect("a test of connections")
    try:
        assert version_of(connection.server_properties) >= (3, 10)
        assert "a test of connections" in rabbitmq.control("list_connections", "client_properties")
    finally:
        connection.close()


def test_the_name_of_a_virtual_host_is_percent_encoded(rabbitmq: RabbitMQ) -> None:
    broker = Broker(settings_for(rabbitmq.url("a/b c")))
    broker.connect("test").close()
    celerys = KombuConnection(broker.url)
    assert (celerys.virtual_host, celerys.password) == ("a/b c", PASSWORD)
    with celerys:
        celerys.connect()


@pytest.mark.parametrize(
    ("url", "address", "vhost", "local"),
    [
        ("amqp://localhost", "localhost:5672", "/", True),
        ("amqp://127.0.0.1:1/", "127.0.0.1:1", "/", True),
        ("amqps://mq.example.com/%2F", "mq.example.com:5671", "/", False),
        ("amqp://[::1]:2/v", "[::1]:2", "v", True),
    ],
)
def test_what_a_url_leaves_out(url: str, address: str, vhost: str, *, local: bool) -> None:
    broker = Broker(settings_for(url))
    assert broker.address == address
    assert broker.on_this_machine is local
    assert KombuConnection(broker.url).virtual_host == vhost
    assert bool(broker.tls) is url.startswith("amqps:")


def test_no_broker() -> None:
    port = free_port()
    error = refused(f"amqp://127.0.0.1:{port}")
    assert isinstance(error, BrokerUnavailableError)
    assert error.code == Code.BROKER_UNREACHABLE
    assert str(error) == f"the broker at 127.0.0.1:{port} cannot be reached: Connection refused"


def test_a_wrong_password(rabbitmq: RabbitMQ) -> None:
    error = refused(rabbitmq.url(password="wrong"))
    assert isinstance(error, ClusterConfigurationError)
    assert error.code == Code.BROKER_REFUSED
    assert f"does not accept the password of user '{USER}'" in str(error)
    assert "wrong" not in str(error)


def test_a_virtual_host_that_is_not_there(rabbitmq: RabbitMQ) -> None:
    error = refused(rabbitmq.url("absent"))
    assert isinstance(error, ClusterConfigurationError)
    assert error.code == Code.VHOST_REFUSED
    assert "into the virtual host 'absent': vhost absent not found" in str(error)


def test_a_virtual_host_that_the_user_may_not_enter(rabbitmq: RabbitMQ) -> None:
    error = refused(rabbitmq.url(user="nobody"))
    assert error.code == Code.VHOST_REFUSED
    assert "does not let user 'nobody' into the virtual host 'test'" in str(error)


@pytest.mark.parametrize(
    ("product", "version"),
    [("RabbitMQ", "3.7.28"), ("RabbitMQ", "3.9.29"), ("RabbitMQ", ""), ("Qpid", "9.0")],
)
def test_a_broker_that_is_too_old_or_another(product: str, version: str) -> None:
    with greeting(connection_start(product, version)) as port:
        error = refused(f"amqp://127.0.0.1:{port}")
    assert isinstance(error, ClusterConfigurationError)
    assert error.code == Code.BROKER_TOO_OLD
    assert f"is {product} {version}" in str(error)
    assert "expected RabbitMQ 3.10 or later" in str(error)


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"AMQP\x00\x01\x00\x00", b"", b"\x01\x00"]
)
def test_something_that_is_no_broker(said: bytes) -> None:
    with greeting(said) as port:
        error = refused(f"amqp://127.0.0.1:{port}")
    assert error.code == Code.BROKER_UNREACHABLE


def test_a_broker_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        error = refused(f"amqp://127.0.0.1:{port}", connect_timeout=0.2)
    assert str(error) == f"the broker at 127.0.0.1:{port} does not answer in time"


def test_a_connection_that_the_broker_closes(broker: Broker) -> None:
    error = broker.refusal(ConnectionForced("CONNECTION_FORCED - for maintenance", (0, 0), "320"))
    assert error.code == Code.BROKER_UNREACHABLE
    said = f"the broker at {broker.address} has closed the connection: for maintenance"
    assert str(error) == said


def test_a_certificate_that_is_not_trusted() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with greeting(b"", context) as port:
        error = refused(f"amqps://localhost:{port}")
    assert isinstance(error, BrokerUnavailableError)
    assert error.code == Code.CERTIFICATE_UNTRUSTED


def test_a_certificate_of_the_ca_bundle_is_trusted(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with greeting(connection_start("RabbitMQ", "3.7.0"), context) as port:
        error = refused(f"amqps://localhost:{port}", ca_bundle=tmp_path / "ca.pem")
    assert error.code == Code.BROKER_TOO_OLD


def test_a_port_without_tls_is_not_spoken_to_without_it(rabbitmq: RabbitMQ) -> None:
    error = refused(rabbitmq.url().replace("amqp:", "amqps:"))
    assert error.code == Code.BROKER_UNREACHABLE


@contextmanager
def greeting(said: bytes, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server on that port that says the same to everybody, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection = listener.accept()[0]
            with connection:
                try:
                    peer = tls.wrap_socket(connection, server_side=True) if tls else connection
                    peer.recv(8)
                    peer.sendall(said)
                    peer.shutdown(socket.SHUT_WR)
                    while peer.recv(4096):
                        pass
                    peer.close()
                except OSError:  # the handshake was given up, which is the point
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            thread.join()


def connection_start(product: str, version: str) -> bytes:
    """AMQP 0-9-1's first method, as a broker of that kind sends it."""
    table = b"".join(
        bytes([len(name)]) + name + b"S" + _long(value.encode())
        for name, value in ((b"product", product), (b"version", version))
    )
    method = struct.pack(">HHBB", 10, 10, 0, 9) + _long(table) + _long(b"PLAIN") + _long(b"en_US")
    return struct.pack(">BHI", 1, 0, len(method)) + method + b"\xce"


def _long(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text
