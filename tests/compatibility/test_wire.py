"""The protocol as it was released: what is sent stays as it is, and what others add is ignored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugin_framework.protocol.signing import signature_is_valid
from tests.compatibility import incoming, wire
from tests.service.calling import ServiceProcess
from tests.service.hub import Hub

OUTGOING: dict[str, Any] = json.loads(wire.RECORDED.read_text(encoding="utf-8"))
INCOMING: dict[str, Any] = json.loads(incoming.RECORDED.read_text(encoding="utf-8"))


@pytest.mark.parametrize("call", OUTGOING)
def test_calls_to_datahub_are_byte_for_byte_as_released(call: str) -> None:
    recorded = OUTGOING[call]
    assert wire.made(call, recorded["answers"][0]) == (recorded["request"], recorded["got"])


def test_every_call_is_recorded() -> None:
    assert OUTGOING.keys() == {*wire.CALLS, wire.JOINED}
    assert INCOMING.keys() == incoming.CALLS.keys()


@pytest.mark.parametrize("call", wire.CALLS)
def test_what_a_newer_datahub_adds_is_ignored(call: str) -> None:
    recorded = OUTGOING[call]
    newer = with_more(recorded["answers"][0])
    assert newer != recorded["answers"][0]
    assert wire.made(call, newer)[1] == recorded["got"]


@pytest.mark.parametrize("call", wire.CALLS)
def test_what_an_older_datahub_leaves_out_is_not_missed(call: str) -> None:
    recorded = OUTGOING[call]
    for older in recorded["answers"][1:]:
        got = wire.made(call, older)[1]
        if isinstance(got, dict):
            got = {name: recorded["got"][name] if got[name] is None else got[name] for name in got}
        assert got == recorded["got"]


def with_more(value: Any) -> Any:
    """The same with a field more in every object."""
    if isinstance(value, list):
        return [with_more(one) for one in value]
    if isinstance(value, dict):
        return {"added": {"later": [1]}} | {name: with_more(one) for name, one in value.items()}
    return value


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    state: Path = tmp_path_factory.mktemp("service")
    with Hub() as hub, ServiceProcess(state, hub.url, incoming.PLUGIN) as process:
        yield process


@pytest.mark.parametrize("call", INCOMING)
def test_calls_of_datahub_are_answered_byte_for_byte_as_released(
    call: str, service: ServiceProcess
) -> None:
    recorded = INCOMING[call]
    assert incoming.answered(service.call, recorded["request"]) == recorded["answer"]


@pytest.mark.parametrize("call", [call for call in INCOMING if "POST" in call])
def test_what_a_newer_datahub_asks_besides_is_ignored(call: str, service: ServiceProcess) -> None:
    recorded = INCOMING[call]
    given = json.loads(recorded["request"]["body"])
    newer = recorded["request"] | {"body": json.dumps({**given, "added": {"later": [1]}})}
    assert incoming.answered(service.call, newer) == recorded["answer"]


@pytest.mark.parametrize("call", INCOMING)
def test_signatures_are_made_as_released(call: str) -> None:
    request = INCOMING[call]["request"]
    query = dict(pair.split("=") for pair in request["query"].split("&") if pair)
    assert incoming.signature_of(request) == INCOMING[call]["signature"]
    made, body = INCOMING[call]["signature"], request["body"].encode()
    assert signature_is_valid(made, [incoming.SECRET], query, body, str(incoming.NOW))
