"""Connections of whoever can reach the port: they hold up nobody who signs."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.service.calling import DEADLINE, ServiceProcess
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
