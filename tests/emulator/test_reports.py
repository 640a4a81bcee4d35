from __future__ import annotations

import json
import time
from collections.abc import Sequence

import pytest

from plugin_framework.emulator import Store
from plugin_framework.emulator.rules import Refused
from plugin_framework.protocol.models import TaskStatus
from tests.emulator.calling import Plugin


def walk(plugin: Plugin, subtask: str, statuses: Sequence[int]) -> list[int]:
    """The code each status is answered with; 3 is sent as a result."""
    return [
        (plugin.result(subtask, {}) if status == 3 else plugin.status(subtask, status)).json["code"]
        for status in statuses
    ]


@pytest.mark.parametrize(
    "path", [(1, 2, 1, 3), (1, 2, 4), (1, 2, 5), (1, 4), (1, 5), (4,), (5,), (1, 1, 2, 2, 1)]
)
def test_legal_paths_are_taken(plugin: Plugin, subtask: str, path: tuple[int, ...]) -> None:
    assert walk(plugin, subtask, path) == [0] * len(path)


@pytest.mark.parametrize(
    ("path", "refused"),
    [((), 0), ((), 2), ((), 3), ((1,), 0), ((1, 2), 0)]
    + [((1, end), after) for end in (3, 4, 5) for after in (1, 2, 3, 4, 5) if after != end],
)
def test_illegal_changes_are_refused(
    plugin: Plugin, store: Store, subtask: str, path: tuple[int, ...], refused: int
) -> None:
    walk(plugin, subtask, path)
    before = store.subtask(subtask)
    assert walk(plugin, subtask, [refused]) == [1]
    assert store.subtask(subtask) == before


def test_status_3_is_for_results_only(plugin: Plugin, store: Store, running: str) -> None:
    assert plugin.status(running, 3).refusal == (200, 1)
    assert store.subtask(running).status is TaskStatus.RUNNING


@pytest.mark.parametrize("status", [-1, 6, "1", 1.0, 1.5, True, None])
def test_a_status_is_an_integer_from_0_to_5(plugin: Plugin, running: str, status: object) -> None:
    body = {"subtask_id": running, "status": status}
    assert plugin.post("/api/task/update_status", body).refusal == (400, 400)


def test_unknown_subtasks_are_refused(plugin: Plugin) -> None:
    answers = [
        plugin.status("nobody", 1),
        plugin.beat("nobody"),
        plugin.result("nobody", {}),
        plugin.init("nobody", 1),
        plugin.complete("nobody", "upload_1", ["x"]),
        plugin.get("/api/task/download/presign", subtask_id="nobody"),
        plugin.get("/api/task/notify", task_id="nobody"),
    ]
    assert [answer.refusal for answer in answers] == [(200, 1)] * len(answers)


def test_an_identical_terminal_report_is_taken_again(
    plugin: Plugin, store: Store, running: str
) -> None:
    body = json.dumps({"subtask_id": running, "result": {"total_counts": 3}}).encode()
    assert [plugin.post("/api/task/result", body).json["code"] for _ in range(3)] == [0, 0, 0]
    assert plugin.post("/api/task/result", body + b" ").refusal == (200, 1)
    assert store.subtask(running).result == {"total_counts": 3}


def test_the_same_bytes_to_another_address_are_no_repeat(plugin: Plugin, running: str) -> None:
    body = json.dumps({"subtask_id": running, "status": 4, "result": {}}).encode()
    assert plugin.post("/api/task/update_status", body).json["code"] == 0
    assert plugin.post("/api/task/result", body).refusal == (200, 1)


@pytest.mark.parametrize("result", [[], "text", 1, None])
def test_a_result_is_a_json_object(plugin: Plugin, running: str, result: object) -> None:
    assert plugin.result(running, result).refusal == (400, 400)


def test_heartbeats_are_for_the_running_and_the_paused(plugin: Plugin, subtask: str) -> None:
    codes = [plugin.beat(subtask).json["code"]]
    for status in (1, 2, 4):
        plugin.status(subtask, status)
        codes.append(plugin.beat(subtask).json["code"])
    assert codes == [1, 0, 0, 1]


def test_a_heartbeat_is_kept(plugin: Plugin, store: Store, running: str) -> None:
    assert plugin.beat(running, process=37).json == {"code": 0, "msg": "success", "data": None}
    subtask = store.subtask(running)
    assert subtask.progress == 37
    assert subtask.heartbeat_at is not None
    assert abs(subtask.heartbeat_at - time.time()) < 60


@pytest.mark.parametrize("process", [-1, 101, 50.5, "50", True, None])
def test_progress_is_a_whole_percentage(plugin: Plugin, running: str, process: object) -> None:
    assert plugin.beat(running, process=process).refusal == (400, 400)


@pytest.mark.parametrize("off", [-301, 302, -(10**9)])
def test_a_heartbeat_of_another_time_is_refused(plugin: Plugin, running: str, off: int) -> None:
    assert plugin.beat(running, timestamp=int(time.time()) + off).refusal == (400, 400)


@pytest.mark.parametrize("timestamp", ["1700000000", 1.5, None, True])
def test_a_timestamp_is_an_integer(plugin: Plugin, running: str, timestamp: object) -> None:
    assert plugin.beat(running, timestamp=timestamp).refusal == (400, 400)


def test_notify_says_what_the_operator_wants_until_it_is_done(
    plugin: Plugin, store: Store, running: str
) -> None:
    def told() -> int:
        status: int = plugin.get("/api/task/notify", task_id=running).data["status"]
        return status

    seen = [told()]
    for wanted in (TaskStatus.PAUSED, TaskStatus.RUNNING, TaskStatus.CANCELLED):
        store.set_status(running, wanted)
        seen.append(told())
        assert store.subtask(running).status is not wanted
        plugin.status(running, wanted)
        assert store.subtask(running).requested is None
        seen.append(told())
    assert seen == [1, 2, 2, 1, 1, 4, 4]


def test_a_result_acknowledged_first_beats_a_cancel(
    plugin: Plugin, store: Store, running: str
) -> None:
    store.set_status(running, TaskStatus.CANCELLED)
    assert plugin.result(running, {}).json["code"] == 0
    assert plugin.get("/api/task/notify", task_id=running).data == {"status": 3}
    with pytest.raises(Refused):
        store.set_status(running, TaskStatus.CANCELLED)


@pytest.mark.parametrize("status", [TaskStatus.INITIAL, TaskStatus.COMPLETED, TaskStatus.FAILED])
def test_operators_ask_for_1_2_and_4_only(store: Store, running: str, status: TaskStatus) -> None:
    with pytest.raises(Refused):
        store.set_status(running, status)


def test_notify_takes_a_task_id(plugin: Plugin, store: Store, subtask: str) -> None:
    task, older = f"task-of-{subtask}", f"older-{subtask}"
    store.create_subtask(older, task_id=task)
    store.create_subtask(f"newer-{subtask}", task_id=task)
    plugin.status(f"newer-{subtask}", 1)
    assert plugin.get("/api/task/notify", task_id=task).data == {"status": 1}
    assert plugin.get("/api/task/notify", task_id=older).data == {"status": 0}


def test_everything_sent_is_on_record(plugin: Plugin, store: Store, source: str) -> None:
    plugin.status(source, 1)
    plugin.download_url(source)
    plugin.beat(source, process=5)
    plugin.upload(source, b"abc", "name.txt")
    plugin.status(source, 3)
    store.set_status(source, TaskStatus.PAUSED)
    plugin.result(source, {"total_counts": 1})
    # Transfers are recorded where somebody has looked at the page.
    events = [event for event in store.events(source) if event.kind not in {"get", "put"}]
    assert [(event.kind, event.accepted) for event in events] == [
        ("status", True),
        ("download", True),
        ("heartbeat", True),
        ("upload_init", True),
        ("upload", True),
        ("status", False),
        ("operator", True),
        ("result", True),
    ]
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert events[4].detail == {"name": "name.txt", "size": 3, "parts": 1}
    assert events[7].detail == {"total_counts": 1}


def test_a_subtask_is_created_once(store: Store, subtask: str) -> None:
    with pytest.raises(ValueError, match="already"):
        store.create_subtask(subtask)
    assert subtask in [known.subtask_id for known in store.subtasks()]
