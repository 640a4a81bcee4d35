"""Validators that hang or crash, and payments that hang: nobody else suffers."""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from plugin_framework.service.app import PAYMENTS_AT_ONCE
from tests.service.calling import DEADLINE, ServiceProcess
from tests.service.hub import Hub
from tests.service.strange import WAYS


@pytest.fixture(scope="module", params=["process", "thread"])
def service(
    hub: Hub, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[ServiceProcess]:
    with ServiceProcess(
        tmp_path_factory.mktemp("state"),
        hub.url,
        "tests.service.strange:Strange",
        DATAHUB_ISOLATION=request.param,
    ) as running:
        yield running


def test_a_validation_that_hangs_holds_up_nobody(
    service: ServiceProcess, hub: Hub, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = request.node.name
    hanging = [tmp_path / "one", tmp_path / "two"]
    assert service.call.create(f"known {name}").fate == (200, 0)
    hub.told(f"known {name}", 1, 3)
    with ThreadPoolExecutor(2) as pool:
        late = [pool.submit(service.call.create, p.name, {"hang": str(p)}) for p in hanging]
        deadline = time.monotonic() + DEADLINE
        while not all(path.exists() for path in hanging):
            assert time.monotonic() < deadline
        assert service.call.create(f"known too {name}").fate == (200, 0)
        hub.told(f"known too {name}", 1, 3)
        assert service.call.create(f"new {name}", {"until": str(tmp_path)}).fate == (200, 0)
        hub.told(f"new {name}", 1, 3)
        assert service.call.send("GET", "/config.js", b"", {}).status == 200
        assert service.call.send("GET", "/openapi.json", b"", {}).status == 200
        answers = [one.result() for one in late]
    for answer in answers:
        assert answer.fate == (400, 400)
        (error,) = answer.body["data"]["errors"]
        assert error["field"] == "config"
        assert "did not end within" in error["message"]


def test_a_validation_that_crashes_kills_no_task(
    hub: Hub, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    until = tmp_path / "until"
    with ServiceProcess(
        tmp_path_factory.mktemp("state"), hub.url, "tests.service.strange:Strange"
    ) as service:
        assert service.call.create("goes on", {"until": str(until)}).fate == (200, 0)
        hub.told("goes on", 1)
        for way in WAYS:
            answer = service.call.create(f"crash {way}", {"way": way})
            assert answer.fate == (400, 400), (way, answer.body)
        until.touch()
        hub.told("goes on", 1, 3)
        assert service.stop() == 0


def test_payments_that_hang_hold_up_nobody(
    hub: Hub, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with (
        ServiceProcess(
            tmp_path_factory.mktemp("state"), hub.url, "tests.service.strange:Strange"
        ) as service,
        ExitStack() as opened,
        selectors.DefaultSelector() as selector,
    ):
        for number in range(PAYMENTS_AT_ONCE + 1):
            address = service.call.address
            one = opened.enter_context(socket.create_connection(address, timeout=DEADLINE))
            one.sendall(payment(service, f"payment {number}"))
            selector.register(one, selectors.EVENT_READ)
        key, _ = selector.select(DEADLINE)[0]
        assert isinstance(key.fileobj, socket.socket)
        assert b" 503 " in key.fileobj.recv(65536)
        assert service.call.send("GET", "/config.js", b"", {}).status == 200
        assert service.call.create("beside payments").fate == (200, 0)
        hub.told("beside payments", 1, 3)


def payment(service: ServiceProcess, subtask_id: str) -> bytes:
    body = json.dumps({"tx_hash": "0x1", "subtask_id": subtask_id}).encode()
    headers = {"Content-Length": str(len(body)), **service.call.headers({}, body)}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = "POST /api/plugin/payment HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
    return f"{head}{lines}\r\n".encode() + body
