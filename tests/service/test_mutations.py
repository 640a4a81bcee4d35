"""Signed requests, changed afterwards: none is taken, and none breaks anything.

``MUTATED_REQUESTS`` says how many of each kind; nobody waits in CI for as many as there may be.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.service.calling import Caller, ServiceProcess, signed
from tests.service.hub import Hub

CREATE = "/api/plugin/create_task"
MANY = int(os.environ.get("MUTATED_REQUESTS", "500"))
MORE = b"\r\n" * 1000
"""What a request that a change has made longer may be waiting for."""
_numbers = count()


@pytest.fixture(scope="module")
def service(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with ServiceProcess(tmp_path_factory.mktemp("state"), hub.url, "Anything") as running:
        yield running


Parts = dict[str, bytes]
"""``body`` and the values of the three headers: all that is signed."""


def parts() -> Parts:
    body = json.dumps({"subtask_id": f"mutated-{next(_numbers)}", "config": {"n": [1, "é"]}})
    headers = signed({}, body.encode(), int(time.time()))
    return {"body": body.encode(), **{name: value.encode() for name, value in headers.items()}}


def request_of(given: Parts) -> bytes:
    lines = [b"%s: %s" % (name.encode(), value) for name, value in given.items() if name != "body"]
    return b"\r\n".join(
        [
            f"POST {CREATE} HTTP/1.1".encode(),
            b"Host: localhost",
            b"Content-Type: application/json",
            b"Content-Length: %d" % len(given["body"]),
            *lines,
            b"",
            given["body"],
        ]
    )


def fate(caller: Caller, request: bytes) -> tuple[int, int | None]:
    """HTTP status and code; (0, None) where the server waits for more, or closes."""
    try:
        answer = caller.raw(request, seconds=1)
    except (OSError, ValueError, EOFError):
        return 0, None
    status, _, body = answer.partition(b" ")
    return int(status), json.loads(body)["code"] if body.startswith(b"{") else None


def assert_refused(caller: Caller, request: bytes) -> None:
    status, code = fate(caller, request)
    assert status < 500, (status, request)
    assert (status, code) != (200, 0), request


NAMES = st.sampled_from(["body", "D-API-KEY", "D-TIMESTAMP", "D-SIGNATURE"])


@settings(max_examples=MANY, derandomize=True, deadline=None)
@given(name=NAMES, place=st.floats(0, 1, exclude_max=True), what=st.binary(max_size=3))
def test_one_change_of_what_is_signed_is_refused(
    service: ServiceProcess, name: str, place: float, what: bytes
) -> None:
    """A byte replaced by none, by another, or by several."""
    right = parts()
    at = int(len(right[name]) * place)
    changed = right[name][:at] + what + right[name][at + 1 :]
    # White space around the value of a header is not part of it.
    if changed.strip(b" \t") != right[name]:
        assert_refused(service.call, request_of({**right, name: changed}))


def flip(chance: random.Random, request: bytes) -> bytes:
    at = chance.randrange(len(request))
    return request[:at] + bytes([request[at] ^ (1 << chance.randrange(8))]) + request[at + 1 :]


def drop(chance: random.Random, request: bytes) -> bytes:
    at = chance.randrange(len(request))
    return request[:at] + request[at + chance.randrange(1, 20) :]


def repeat(chance: random.Random, request: bytes) -> bytes:
    at = chance.randrange(len(request))
    return request[:at] + request[at : at + chance.randrange(1, 200)] + request[at:]


def swap(chance: random.Random, request: bytes) -> bytes:
    lines = request.split(b"\r\n")
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\r\n".join(lines)


def insert(chance: random.Random, request: bytes) -> bytes:
    at = chance.randrange(len(request))
    return request[:at] + chance.randbytes(chance.randrange(1, 9)) + request[at:]


MUTATIONS: list[Callable[[random.Random, bytes], bytes]] = [flip, drop, repeat, swap, insert]


def test_no_change_of_a_whole_request_breaks_anything(service: ServiceProcess) -> None:
    """Of what is not signed, such as the host, a change may be taken; nothing else ever is."""
    chance = random.Random(20)
    for _ in range(MANY):
        right = parts()
        request = request_of(right)
        for _ in range(chance.randrange(1, 4)):
            request = chance.choice(MUTATIONS)(chance, request)
        status, code = fate(service.call, request + MORE)
        assert status < 500, (status, request)
        if (status, code) == (200, 0):
            assert all(value in request for value in right.values()), request
    assert service.call.health().status == 200
    assert [line for line in service.lines if "traceback" in line] == []
