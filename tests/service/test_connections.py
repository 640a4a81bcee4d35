"""Connections of whoever can reach the port: they hold up nobody who signs."""

from __future__ import annotations

import resource
import selectors
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from plugin_framework.service.admission import BODIES_LIMIT, BODY_LIMIT
from tests.service.calling import DEADLINE, ServiceProcess, signed
from tests.service.hub import Hub

FILES = 400
"""As many may be open in the service."""

UNWANTED = b"POST /api/plugin/create_task HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\n\r\nx"
"""A body that is too large, of which little comes."""


@pytest.fixture
def service(hub: Hub, tmp_path: Path) -> Iterator[ServiceProcess]:
    with ServiceProcess(tmp_path / "state", hub.url, "tests.service.strange:Strange") as running:
        yield running


def test_silent_connections_are_closed_and_hold_up_nobody(
    service: ServiceProcess, hub: Hub, tmp_path: Path
) -> None:
    resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
    until = tmp_path / "until"
    assert service.call.create("goes on", {"until": str(until)}).fate == (200, 0)
    hub.told("goes on", 1)
    with ExitStack() as opened:
        silent = [opened.enter_context(connect(service)) for _ in range(2 * FILES)]
        for connection in silent[::2]:
            with suppress(ConnectionError):  # closed already
                connection.send(b"GET /live HTTP/1.1\r\nHost: h\r\nX: ")
        assert service.call.health().status == 200
        assert service.call.create("meanwhile", {"until": str(tmp_path)}).fate == (200, 0)
        hub.told("meanwhile", 1, 3)
        unwanted = opened.enter_context(connect(service))
        unwanted.sendall(UNWANTED)
        assert b" 413 " in unwanted.recv(65536)
        unwanted.sendall(b"x")
        assert all(is_closed(connection) for connection in [*silent, unwanted])
    until.touch()
    hub.told("goes on", 1, 3)
    assert not [line for line in service.lines if "Traceback" in str(line)]
    assert service.stop() == 0


def test_no_body_is_awaited_of_who_does_not_seem_to_sign(service: ServiceProcess) -> None:
    wrong = {**signed({}, b"", int(time.time())), "D-API-KEY": "another"}
    old = signed({}, b"", 1)
    malformed = {**signed({}, b"", int(time.time())), "D-SIGNATURE": "x"}
    for headers in ({}, wrong, old, malformed):
        with connect(service) as connection:
            connection.sendall(large_head(headers) + b"x")
            assert b" 401 " in connection.recv(65536)


def test_bodies_that_do_not_arrive_take_little_memory(service: ServiceProcess) -> None:
    head = large_head(signed({}, b"", int(time.time())))
    most = BODIES_LIMIT // BODY_LIMIT
    with ExitStack() as opened, selectors.DefaultSelector() as selector:
        for _ in range(most + 8):
            connection = opened.enter_context(connect(service))
            connection.sendall(head + b"x")
            selector.register(connection, selectors.EVENT_READ)
        for _ in range(8):
            key, _ = selector.select(DEADLINE)[0]
            assert isinstance(key.fileobj, socket.socket)
            assert b" 503 " in key.fileobj.recv(65536)
            selector.unregister(key.fileobj)
    deadline = time.monotonic() + DEADLINE
    while service.call.create("afterwards", {"way": "x" * (BODY_LIMIT // 2)}).status == 503:
        assert time.monotonic() < deadline


def large_head(headers: Mapping[str, str]) -> bytes:
    """Of a body as large as the limit."""
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    return (
        "POST /api/plugin/create_task HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
        f"Content-Length: {BODY_LIMIT}\r\n{''.join(lines)}\r\n"
    ).encode()


def connect(service: ServiceProcess) -> socket.socket:
    return socket.create_connection(service.call.address, timeout=DEADLINE)


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side closes it before the deadline."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True
