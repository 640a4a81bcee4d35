"""The calls of PROTOCOL.md, part 2, answered as written there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.service.calling import PLUGINS, ServiceProcess
from tests.service.hub import Hub

SUCCESS = {"code": 0, "msg": "success", "data": None}


def test_a_subtask_is_accepted_and_run(service: ServiceProcess, hub: Hub) -> None:
    answer = service.call.create("runs", {"size": 7}, task_id="t-1", input_files=[{"any": "thing"}])
    assert (answer.status, answer.body) == (200, SUCCESS)
    hub.told("runs", 1, 3)
    assert hub.results["runs"]["total_counts"] == 7


def test_a_repeat_is_answered_success_and_runs_nothing(service: ServiceProcess, hub: Hub) -> None:
    assert [service.call.create("again", {}).body for _ in range(3)] == [SUCCESS] * 3
    hub.told("again", 1, 3)
    assert service.call.create("again", {"size": 2}).body == SUCCESS
    assert service.call.create("after again", {}).body == SUCCESS
    hub.told("after again", 1, 3)
    assert hub.statuses["again"] == [1, 3]


def test_a_wrong_config_is_refused_field_by_field(service: ServiceProcess, hub: Hub) -> None:
    answer = service.call.create("wrong", {"size": 0, "colour": "blue", "extra": 1})
    assert answer.fate == (400, 400)
    fields = {error["field"] for error in answer.body["data"]["errors"]}
    assert fields == {"config.size", "config.colour", "config.extra"}
    assert all(field in answer.body["msg"] for field in fields)
    assert service.call.manage("wrong", 4).fate == (200, 1)
    assert "wrong" not in hub.statuses


def test_health_says_what_is_served(service: ServiceProcess) -> None:
    answer = service.call.health()
    assert answer.status == 200
    uptime = answer.body["plugin"]["uptime"]
    assert isinstance(uptime, int)
    assert answer.body == {
        "code": 0,
        "msg": "success",
        "status": "healthy",
        "plugin": {"uptime": uptime, "version": "1.2.3", "plugin_id": "Counts"},
    }


def test_payment_is_absent_where_no_plugin_takes_any(service: ServiceProcess) -> None:
    answer = service.call.post("/api/plugin/payment", {"tx_hash": "0x1", "subtask_id": "s"})
    assert answer.fate == (404, 404)


def test_a_subtask_that_nobody_knows_is_a_business_error(service: ServiceProcess) -> None:
    answer = service.call.manage("nobody", 2)
    assert answer.fate == (200, 1)
    assert "no subtask nobody" in answer.body["msg"]


def test_what_has_ended_cannot_be_managed(service: ServiceProcess, hub: Hub) -> None:
    service.call.create("over", {})
    hub.told("over", 1, 3)
    for status in (1, 2, 4):
        answer = service.call.manage("over", status)
        assert answer.fate == (200, 1)
        assert "has ended already (completed)" in answer.body["msg"]
    assert hub.statuses["over"] == [1, 3]


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        "text",
        {"subtask_id": "s"},
        {"subtask_id": "", "status": 1},
        {"subtask_id": "x" * 10_000, "status": 1},
        {"subtask_id": "../../etc/passwd", "status": 4},
        {"subtask_id": "a\\b", "status": 4},
        {"subtask_id": "a\x00b", "status": 4},
        {"subtask_id": 7, "status": 1},
        {"subtask_id": "s", "status": 3},
        {"subtask_id": "s", "status": "2"},
        {"subtask_id": "s", "status": True},
        {"subtask_id": "s", "status": 2.0},
        {"subtask_id": "s", "status": None},
    ],
    ids=lambda body: json.dumps(body)[:40],
)
def test_a_malformed_message_is_refused(service: ServiceProcess, body: Any) -> None:
    assert service.call.post("/api/plugin/manage_task", body).fate == (400, 400)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b'{"subtask_id": "s", "config": {"size": NaN}}',
        b'{"subtask_id": "s", "config": {"size": 1e999}}',
        b'{"subtask_id": "s", "config": {}, "subtask_id": "t"}',
        b'{"subtask_id": "s", "config": {"size": 1, "size": 2}}',
        b'{"subtask_id": "s", "config": {"text": "\\ud800"}}',
        b'{"subtask_id": "s", "config": {"text": "\xff"}}',
        b'{"subtask_id": "s", "config": ' + b'{"a":' * 100 + b"1" + b"}" * 101,
        b'{"subtask_id": "s", "config": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"subtask_id": "s", "config": {"size": ' + b"9" * 5000 + b"}}",
        b'{"subtask_id": "s", "config": null}',
        b'{"subtask_id": "s", "config": "{}"}',
        b'\xef\xbb\xbf{"subtask_id": "s", "config": {}}',
    ],
    ids=lambda body: body[:45].decode("latin-1"),
)
def test_what_is_no_good_json_is_refused(service: ServiceProcess, hub: Hub, body: bytes) -> None:
    assert service.call.post("/api/plugin/create_task", body).fate == (400, 400)
    assert "s" not in hub.statuses


def test_another_content_type_is_refused(service: ServiceProcess) -> None:
    body = {"subtask_id": "typed", "config": {}}
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""):
        answer = service.call.post("/api/plugin/create_task", body, {"Content-Type": kind})
        assert answer.fate == (415, 415)
    with_charset = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert service.call.post("/api/plugin/create_task", body, with_charset).fate == (200, 0)


def test_other_paths_and_methods_are_refused_in_the_envelope(service: ServiceProcess) -> None:
    assert service.call.get("/api/plugin/health/").fate == (404, 404)
    assert service.call.get("/nothing").fate == (404, 404)
    for method in ("GET", "PUT", "DELETE", "HEAD", "OPTIONS"):
        answer = service.call.send(method, "/api/plugin/create_task", b"", {})
        assert answer.status == 405
        assert answer.headers["allow"] == "POST"
    assert service.call.post("/api/plugin/health", {}).fate == (405, 405)


def test_operators_ask_without_a_signature(service: ServiceProcess) -> None:
    for path, expected in (("/live", {"live": True}), ("/ready", {"ready": True})):
        answer = service.call.send("GET", path, b"", {})
        assert (answer.status, answer.body) == (200, expected)
    figures = service.call.send("GET", "/metrics", b"", {}).raw.decode()
    assert 'datahub_subtasks{state="waiting"}' in figures
    assert "datahub_request_seconds_bucket" in figures


def test_each_request_is_a_log_line_with_its_subtask(service: ServiceProcess) -> None:
    service.call.create("logged", {"size": 0})
    line = service.wait_for_line("/api/plugin/create_task 400 in")
    assert line["logger"] == "datahub.access"
    service.wait_for_line("subtask logged")
    lines = [line for line in service.lines if line.get("subtask_id") == "logged"]
    assert [line["status"] for line in lines if "status" in line] == [400]


def test_the_configuration_page_is_the_plugins(service: ServiceProcess) -> None:
    answer = service.call.send("GET", "/config.js", b"", {})
    assert answer.headers["content-type"].startswith("text/javascript")
    assert b"validateConfig" in answer.raw
    assert b"colour" in answer.raw


def test_the_configuration_page_comes_in_the_shape_that_is_asked_for(
    service: ServiceProcess,
) -> None:
    begins = {"script": b"(() =>", "function": b"return (() =>", "module": b"export default (() =>"}
    for shape, lead in begins.items():
        answer = service.call.send("GET", f"/config.js?shape={shape}", b"", {})
        assert answer.raw.startswith(lead)
        assert answer.headers["access-control-allow-origin"] == "*"
    assert service.call.send("GET", "/config.js", b"", {}).raw.startswith(begins["script"])
    unknown = service.call.send("GET", "/config.js?shape=amd", b"", {})
    assert unknown.fate == (400, 400)
    assert unknown.body["msg"] == "shape='amd': expected one of script, function, module"
    for path in ("/live", "/openapi.json", "/metrics", "/api/plugin/health"):
        answer = service.call.send("GET", path, b"", {})
        assert "access-control-allow-origin" not in answer.headers


def test_several_plugins_are_told_apart(hub: Hub, tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, hub.url, "Counts", "Anything") as service:
        call = service.call
        unnamed = call.create("which", {})
        assert unnamed.fate == (400, 400)
        assert "Counts, Anything" in unnamed.body["msg"]
        assert call.create("which", {}, plugin="Neither").fate == (404, 404)
        assert call.create("by-name", {"size": 2}, plugin="Counts").fate == (200, 0)
        by_path = {"subtask_id": "by-path", "config": {"free": [1]}}
        assert call.post("/Anything/api/plugin/create_task", by_path).fate == (200, 0)
        clash = {"subtask_id": "clash", "config": {}, "plugin": "Counts"}
        assert call.post("/Anything/api/plugin/create_task", clash).fate == (400, 400)
        hub.told("by-name", 1, 3)
        hub.told("by-path", 1, 3)
        assert hub.results["by-path"]["given"] == {"free": [1]}
        assert call.get("/Anything/api/plugin/health").body["plugin"]["plugin_id"] == "Anything"
        assert len(call.health().body["plugins"]) == 2


def test_payments_are_for_the_plugin_to_accept(hub: Hub, tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, hub.url, "Counts", "Anything") as service:

        def pay(tx_hash: str, plugin: str = "Anything", subtask_id: str = "s") -> tuple[int, int]:
            body = {"tx_hash": tx_hash, "subtask_id": subtask_id, "plugin": plugin}
            return service.call.post("/api/plugin/payment", body).fate

        assert pay("0x123") == (200, 0)
        assert pay("0x123", subtask_id="unpaid") == (200, 1)
        assert pay("nonsense") == (200, 1)
        assert pay("crash") == (500, 500)
        assert pay("0x123", plugin="Counts") == (404, 404)
        assert pay("") == (400, 400)
        assert pay("0x124") == (200, 0)


def test_with_thread_isolation_all_is_the_same(hub: Hub, tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, hub.url, "Anything", DATAHUB_ISOLATION="thread") as service:
        assert service.call.create("threaded", {"a": 1}).fate == (200, 0)
        hub.told("threaded", 1, 3)
        payment = {"tx_hash": "0x1", "subtask_id": "threaded"}
        assert service.call.post("/api/plugin/payment", payment).fate == (200, 0)
        assert PLUGINS.encode() not in service.call.send("GET", "/openapi.json", b"", {}).raw


def test_a_refusal_is_no_longer_than_people_read(hub: Hub, tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, hub.url, "Talks") as service:
        answer = service.call.create("talks", {"words": 1})
    assert answer.fate == (400, 400)
    assert answer.body["data"]["errors"][0]["field"] == "config.words"
    assert len(answer.raw) < 5000


def test_no_other_plugin_is_imported(hub: Hub, tmp_path: Path) -> None:
    """Row 91: an installed package that is not asked for runs no code."""
    site = tmp_path / "site"
    declared = site / "other-1.0.dist-info"
    declared.mkdir(parents=True)
    (declared / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (declared / "entry_points.txt").write_text("[datahub.plugins]\nother = other_plugin:Other\n")
    (site / "other_plugin.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w').close()\n")
    with ServiceProcess(tmp_path, hub.url, "Counts", PYTHONPATH=str(site)) as service:
        assert service.call.create("alone", {}).fate == (200, 0)
        hub.told("alone", 1, 3)
    assert not (tmp_path / "imported").exists()
