"""Rules of an emulator in a process of its own: from Python, from a file, over HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugin_framework.emulator import Emulator
from plugin_framework.emulator.chaos.rules import FAULTS
from plugin_framework.errors import ConfigurationError
from tests.emulator.calling import Answer, Plugin, send

MARK = ("X-Datahub-Local", "1")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(state_dir=tmp_path_factory.mktemp("datahub")) as running:
        running.store.create_subtask("s")
        Plugin(running.url).status("s", 1)
        yield running


@pytest.fixture
def emulator(server: Emulator) -> Iterator[Emulator]:
    yield server
    server.set_chaos(None)


def put(emulator: Emulator, body: bytes, query: str = "") -> Answer:
    return send("PUT", f"{emulator.url}/local/chaos{query}", body, [MARK])


def test_rules_from_the_start(tmp_path: Path) -> None:
    rules = {"rules": [{"fault": "status", "call": "heartbeat", "status": 503, "count": 1}]}
    with Emulator(state_dir=tmp_path, chaos=rules) as emulator:
        emulator.store.create_subtask("s")
        plugin = Plugin(emulator.url)
        plugin.status("s", 1)
        assert [plugin.beat("s").status for _ in range(3)] == [503, 200, 200]
        assert emulator.chaos["counters"][0]["injected"] == 1
    with pytest.raises(ConfigurationError, match="did you mean status"):
        Emulator(state_dir=tmp_path, chaos={"rules": [{"fault": "statsu"}]})


def test_rules_set_and_cleared_while_it_runs(emulator: Emulator) -> None:
    plugin = Plugin(emulator.url)
    assert emulator.chaos == {"seed": 0, "rules": [], "counters": []}
    rule = {"name": "broken", "fault": "code", "call": ["heartbeat"], "code": 500}
    emulator.set_chaos({"seed": 3, "rules": [rule]})
    assert plugin.beat("s").json["code"] == 500
    assert emulator.chaos == {
        "seed": 3,
        "rules": [rule],
        "counters": [{"name": "broken", "matched": 1, "injected": 1, "holds": True}],
    }
    with pytest.raises(ConfigurationError) as caught:
        emulator.set_chaos({"rules": [{"fault": "code", "code": 0}, {"fault": "hnag"}]})
    assert len(caught.value.problems) == 2
    assert plugin.beat("s").json["code"] == 500
    emulator.set_chaos({"seed": 3, "rules": [rule]}, keep=True)
    assert emulator.chaos["counters"][0]["injected"] == 2
    emulator.set_chaos(None)
    assert plugin.beat("s").json["code"] == 0
    faults = [event.detail for event in emulator.store.events("s") if event.kind == "fault"]
    assert faults == [{"rule": "broken", "fault": "code", "code": 500, "call": "heartbeat"}] * 2


def test_an_outage_leaves_the_way_to_end_it_open(emulator: Emulator) -> None:
    emulator.set_chaos({"rules": [{"fault": "outage"}]})
    with pytest.raises(ConnectionResetError):
        Plugin(emulator.url).beat("s")
    with pytest.raises(ConnectionResetError):
        send("GET", f"{emulator.url}/storage/datahub/key")
    emulator.set_chaos(None)
    assert Plugin(emulator.url).beat("s").json["code"] == 0


def test_what_could_be_set_is_served(emulator: Emulator) -> None:
    said = send("GET", f"{emulator.url}/local/chaos").json
    assert {fault["name"] for fault in said["faults"]} == set(FAULTS)
    assert "probability" in {field["name"] for field in said["fields"]}
    for preset in said["presets"]:
        answer = put(emulator, json.dumps({"rules": preset["rules"]}).encode())
        assert answer.json["rules"] == preset["rules"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"rules": 5}', b"\xff"])
def test_what_is_no_rules_changes_nothing(body: bytes, emulator: Emulator) -> None:
    emulator.set_chaos({"rules": [{"fault": "hang"}]})
    answer = put(emulator, body)
    assert answer.status == 400
    assert answer.json["error"] == answer.json["problems"][0]
    assert [rule["fault"] for rule in emulator.chaos["rules"]] == ["hang"]


def test_other_sites_set_nothing(emulator: Emulator) -> None:
    body = b'{"rules": [{"fault": "outage"}]}'
    url = f"{emulator.url}/local/chaos"
    assert send("PUT", url, body).status == 403
    assert send("PUT", url, body, [MARK, ("Origin", "http://elsewhere.example")]).status == 403
    assert send("DELETE", url).status == 403
    assert emulator.chaos["rules"] == []


def test_it_ends_while_requests_hang(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rules = {"rules": [{"fault": "hang", "name": "stuck"}, {"fault": "delay", "seconds": 60}]}
    ended = []
    with Emulator(state_dir=tmp_path, chaos=rules) as emulator:

        def call() -> None:
            with pytest.raises(OSError, match=r"reset by peer|closed connection"):
                Plugin(emulator.url).get("/api/task/notify", task_id="s")
            ended.append(True)

        thread = threading.Thread(target=call)
        thread.start()
        deadline = time.monotonic() + 20
        while not emulator.chaos["counters"][0]["injected"]:
            assert time.monotonic() < deadline
    thread.join(20)
    assert ended
    assert "Traceback" not in capfd.readouterr().err
