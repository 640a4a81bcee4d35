"""Tasks over ``/local/``: lists, one of them, its record, and what can be asked of it."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from plugin_framework.emulator import Emulator, Store
from tests.emulator.calling import Plugin
from tests.emulator.local_api.calling import Local, task

MARKUP = "<img src=x onerror=alert(1)>\u2028&\"'"


def test_a_task_is_shown_whole(local: Local, store: Store, plugin: Plugin, source: str) -> None:
    plugin.status(source, 1)
    plugin.beat(source, process=40)
    shown = local.json(task(source))
    assert shown["heartbeat_age"] < 30
    assert abs(shown["started_at"] - time.time()) < 30
    assert {name: shown[name] for name in ("status", "status_name", "progress", "lost")} == {
        "status": 1,
        "status_name": "running",
        "progress": 40,
        "lost": False,
    }
    assert shown["input"] == {"name": "input.bin", "size": 1024}
    assert (shown["config"], shown["result"], shown["dispatch"]) == ({}, None, "none")
    plugin.result(source, {"total_counts": 1, "note": MARKUP})
    assert local.json(task(source))["result"] == local.json(task(source, "/result"))
    assert local.json(task(source, "/result"))["note"] == MARKUP


def test_lists_leave_out_what_may_be_large(local: Local, running: str) -> None:
    (listed,) = local.json("tasks", search=running)["tasks"]
    whole = local.json(task(running))
    assert set(whole) - set(listed) == {"config", "result"}
    fixed = listed.keys() - {"heartbeat_age"}
    assert {name: listed[name] for name in fixed} == {name: whole[name] for name in fixed}


def test_pages_hold_every_task_once(tmp_path: Path) -> None:
    with Emulator(state_dir=tmp_path) as emulator:
        local = Local(emulator.url)
        for number in range(25):
            emulator.store.create_subtask(f"t{number}", config={"big": "x" * 1000})
        found: list[str] = []
        page: dict[str, Any] = {"next": 0}
        while page["next"] is not None:
            page = local.json("tasks", limit=10, before=page["next"])
            assert page["total"] == page["counts"]["0"] == 25
            found += [each["subtask_id"] for each in page["tasks"]]
        assert found == [f"t{number}" for number in reversed(range(25))]
        Plugin(emulator.url).status("t3", 1)
        (listed,) = local.json("tasks", status=1)["tasks"]
        assert listed["subtask_id"] == "t3"
        assert [each["subtask_id"] for each in local.json("tasks", search="T24")["tasks"]] == [
            "t24"
        ]
        assert local.json("tasks", search="%")["total"] == 0


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "-1"},
        {"limit": "many"},
        {"limit": "1001"},
        {"before": "9" * 40},
        {"before": "٣"},
        {"status": "9"},
        {"status": "running"},
    ],
)
def test_a_bad_parameter_is_one_line(local: Local, query: dict[str, str]) -> None:
    status, line = local.refusal(local.get("tasks", **query))
    assert (status, line.partition(":")[0]) == (400, next(iter(query)))


@pytest.mark.parametrize(
    "rest", ["", "/events", "/logs", "/outputs", "/outputs/1", "/input", "/result", "/x", "/a/b/c"]
)
def test_unknown_tasks_are_404(local: Local, rest: str) -> None:
    assert local.refusal(local.get(task("no such", rest)))[0] == 404


@pytest.mark.parametrize("word", ["pause", "resume", "cancel", "logs"])
def test_nothing_is_asked_of_unknown_tasks(local: Local, word: str) -> None:
    body = b"[]" if word == "logs" else None
    assert local.refusal(local.post(task("no such", f"/{word}"), body))[0] == 404


@pytest.mark.parametrize("path", ["", "nothing", "tasks/", "info/", "../etc/passwd", "%2e%2e/x"])
def test_other_addresses_are_404_and_a_line(local: Local, path: str) -> None:
    assert local.refusal(local.get(path))[0] == 404


def test_other_methods_are_405(local: Local) -> None:
    assert local.refusal(local.send("PUT", "tasks"))[0] == 405
    assert local.refusal(local.send("DELETE", "info"))[0] == 405


@pytest.mark.parametrize("odd", ["a/b", "a b?c#d", "ü%2F&", "..", "a/events", "<b>", "x/logs/y"])
def test_ids_may_have_any_characters(local: Local, store: Store, odd: str) -> None:
    subtask_id = f"{uuid.uuid4()}{odd}"
    store.create_subtask(subtask_id)
    assert local.json(task(subtask_id))["subtask_id"] == subtask_id
    assert local.json(task(subtask_id, "/events")) == []


def test_what_is_asked_is_shown_until_the_plugin_confirms(
    local: Local, plugin: Plugin, running: str
) -> None:
    for word, status in (("pause", 2), ("resume", 1), ("cancel", 4)):
        before = local.json(task(running))["status"]
        shown = local.post(task(running, f"/{word}")).json
        assert (shown["status"], shown["requested"]) == (before, status)
        assert plugin.get("/api/task/notify", task_id=running).data == {"status": status}
        plugin.status(running, status)
        assert local.json(task(running))["requested"] is None
    assert local.refusal(local.post(task(running, "/pause")))[0] == 409
    kinds = [event["kind"] for event in local.json(task(running, "/events"))]
    assert kinds.count("operator") == 3


def test_events_come_in_order_and_from_a_number_on(
    local: Local, plugin: Plugin, running: str
) -> None:
    plugin.beat(running)
    plugin.upload(running, b"x" * 100, MARKUP)
    events = local.json(task(running, "/events"))
    assert [event["kind"] for event in events] == [
        *("status", "heartbeat", "upload_init", "put", "upload")
    ]
    put = events[3]["detail"]
    assert (put["name"], put["bytes"], put["part"]) == (MARKUP, 100, None)
    assert put["seconds"] >= 0
    after = events[1]["number"]
    assert local.json(task(running, "/events"), after=after) == events[2:]
    assert local.json(task(running, "/events"), after=after, limit=1) == events[2:3]


def test_a_refused_report_is_an_event_with_its_reason(
    local: Local, plugin: Plugin, running: str
) -> None:
    plugin.status(running, 3)
    last = local.json(task(running, "/events"))[-1]
    assert (last["kind"], last["code"]) == ("status", 1)
    assert "only" in last["message"]


def test_logs_are_kept_as_text(local: Local, running: str) -> None:
    lines = [
        {"at": 1.5, "level": "INFO", "logger": "plugin", "message": MARKUP},
        {"at": 2, "level": "ERROR", "logger": "a.b", "message": "two\nlines"},
    ]
    assert local.post(task(running, "/logs"), lines).json == {"taken": 2}
    kept = local.json(task(running, "/logs"))
    assert [{name: line[name] for name in lines[0]} for line in kept] == lines
    assert local.json(task(running, "/logs"), after=kept[0]["number"]) == kept[1:]


def test_the_last_error_in_the_log_is_why_a_task_failed(
    local: Local, plugin: Plugin, running: str
) -> None:
    line = {"at": time.time(), "level": "ERROR", "logger": "plugin", "message": MARKUP}
    local.post(task(running, "/logs"), [line])
    plugin.status(running, 5)
    assert local.json(task(running))["reason"] == MARKUP


LINE = {"at": 1, "level": "INFO", "logger": "x", "message": "m"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"null",
        b"{}",
        b'[{"at": 1}]',
        json.dumps([LINE | {"at": "1"}]).encode(),
        json.dumps([LINE | {"at": 1e300}]).encode(),
        json.dumps([LINE | {"at": 4102444801}]).encode(),
        json.dumps([LINE | {"at": -0.5}]).encode(),
        json.dumps([LINE | {"message": 1}]).encode(),
        json.dumps([LINE | {"more": 1}]).encode(),
        json.dumps([LINE] * 1001).encode(),
        b'[{"at": NaN, "level": "I", "logger": "x", "message": "m"}]',
        b'[{"at": 1, "at": 2, "level": "I", "logger": "x", "message": "m"}]',
        b'[{"at": 1, "level": "I", "logger": "x", "message": "\\ud800"}]',
        b"[" * 100_000,
    ],
)
def test_what_are_no_lines_is_400(local: Local, running: str, body: bytes) -> None:
    assert local.refusal(local.post(task(running, "/logs"), body))[0] == 400
    assert local.json(task(running, "/logs")) == []


def test_a_huge_body_is_413(local: Local, running: str) -> None:
    assert local.refusal(local.post(task(running, "/logs"), b" " * (9 << 20)))[0] == 413
