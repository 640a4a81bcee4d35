"""A client that may not call at any time."""

from __future__ import annotations

import threading

import pytest

from plugin_framework.errors import (
    ConnectionFailedError,
    LeaseLostError,
    RetryableError,
    ServerUnavailableError,
)
from plugin_framework.protocol.client import DatahubClient
from tests.scripted_server import Exchange, ScriptedServer, ok, status


def test_each_attempt_is_asked_for_first_and_one_that_is_refused_is_not_made() -> None:
    asked: list[tuple[str, bytes]] = []

    def guard(path: str, body: bytes) -> float:
        asked.append((path, body))
        if len(asked) == 3:
            raise LeaseLostError("another node has it")
        return 60

    with ScriptedServer(then=status(503)) as server, DatahubClient(server.url) as client:
        with pytest.raises(LeaseLostError):
            client.guarded(guard).post("/api/task/result", b"{}", patience=60)
        assert asked == [("/api/task/result", b"{}")] * 3
        assert len(server.requests) == 2
        with pytest.raises(ServerUnavailableError):  # the client itself is as it was
            client.post("/api/task/result", b"{}", patience=0)
        assert len(asked) == 3


def test_a_call_takes_no_longer_than_it_may_and_its_connection_is_broken() -> None:
    broken = threading.Event()

    def wait(exchange: Exchange) -> bool:
        exchange.socket.settimeout(10)
        try:
            exchange.socket.recv(1)
        except ConnectionResetError:
            broken.set()
        return False

    with ScriptedServer(wait, then=ok()) as server, DatahubClient(server.url) as client:
        with pytest.raises(ConnectionFailedError) as raised:
            client.guarded(lambda _path, _body: 0.3).heartbeat("task", 1)
        assert raised.value.unknown_outcome
        assert broken.wait(10)


def test_what_may_take_no_time_is_not_sent() -> None:
    with ScriptedServer() as server, DatahubClient(server.url) as client:
        with pytest.raises(RetryableError):
            client.guarded(lambda _path, _body: -1).heartbeat("task", 1)
        assert server.requests == []
