"""Pause, resume and cancel by Datahub; limits of time; a held interpreter lock."""

from __future__ import annotations

import itertools
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from plugin_framework.engines.local import LocalEngine
from plugin_framework.plugin.hookspecs import hookimpl
from plugin_framework.protocol.models import TaskStatus
from tests.lifecycle import plugins
from tests.lifecycle.running import SUBTASK, Background, eventually, gone, run, settings_for
from tests.strict_datahub import StrictDatahub

ISOLATIONS = pytest.mark.parametrize("isolation", ["process", "thread"])


@ISOLATIONS
def test_a_cancel_ends_the_work_at_its_next_checkpoint(tmp_path: Path, isolation: str) -> None:
    with (
        StrictDatahub(SUBTASK) as hub,
        Background(plugins.Steps, hub, tmp_path, isolation=isolation) as task,
    ):
        eventually((tmp_path / "started").exists)
        hub.set_status(4)
        hub.wait_for(lambda: hub.statuses == [1, 4])
        assert task.ended.exit_code == 4
        assert hub.violations == []
    assert (tmp_path / "hooks").read_text().split("\n")[:2] == ["cancel", "finish 4"]


def test_a_plugin_that_ignores_cancel_is_killed_with_its_children(tmp_path: Path) -> None:
    with (
        StrictDatahub(SUBTASK) as hub,
        Background(plugins.Stubborn, hub, tmp_path, grace_seconds=0.5) as task,
    ):
        eventually((tmp_path / "started").exists)
        hub.set_status(4)
        assert task.ended.exit_code == 4
        assert hub.statuses == [1, 4]
        assert hub.violations == []
    for name in ("started", "child"):
        gone(int((tmp_path / name).read_text()))


def test_a_thread_that_ignores_cancel_is_left_behind(tmp_path: Path) -> None:
    with (
        StrictDatahub(SUBTASK) as hub,
        Background(plugins.Deaf, hub, tmp_path, isolation="thread", grace_seconds=0.2) as task,
    ):
        eventually((tmp_path / "started").exists)
        hub.set_status(4)
        assert task.ended.exit_code == 4
        (tmp_path / "go").touch()
        assert hub.statuses == [1, 4]
        assert hub.violations == []


@ISOLATIONS
def test_pause_and_resume_take_hold_at_checkpoints(tmp_path: Path, isolation: str) -> None:
    with (
        StrictDatahub(SUBTASK) as hub,
        Background(plugins.Steps, hub, tmp_path, isolation=isolation) as task,
    ):
        eventually((tmp_path / "started").exists)
        hub.set_status(2)
        hub.wait_for(lambda: hub.statuses == [1, 2])
        beats = len(hub.heartbeats)
        asked = len(hub.calls)
        hub.wait_for(lambda: len(hub.heartbeats) >= beats + 4)
        hub.wait_for(lambda: len(hub.calls) >= asked + 10)
        assert hub.statuses == [1, 2]
        hub.set_status(1)
        hub.wait_for(lambda: hub.statuses == [1, 2, 1])
        (tmp_path / "go").touch()
        assert task.ended.exit_code == 0
        assert hub.statuses == [1, 2, 1, 3]
        assert hub.violations == []
    assert (tmp_path / "hooks").read_text() == "pause\nresume\nfinish 3\n"


def test_a_task_may_return_while_another_of_its_threads_is_held(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub, Background(plugins.Threaded, hub, tmp_path) as task:
        eventually((tmp_path / "started").exists)
        hub.set_status(2)
        hub.wait_for(lambda: hub.statuses == [1, 2])
        (tmp_path / "go").touch()
        assert task.ended.exit_code == 0
        assert hub.statuses == [1, 2, 1, 3]
        assert hub.violations == []


def test_a_pause_by_another_way_is_not_undone_by_what_notify_still_says(tmp_path: Path) -> None:
    """The service pauses a run directly, and Datahub has status 1 until the pause takes hold."""
    with StrictDatahub(SUBTASK) as hub, Background(plugins.Deaf, hub, tmp_path) as task:
        eventually((tmp_path / "started").exists)
        task.run.pause()
        asked = len(hub.calls)
        hub.wait_for(lambda: len(hub.calls) >= asked + 10)
        assert task.run.pausing
        (tmp_path / "go").touch()
        assert task.ended.exit_code == 0


def test_an_answer_that_has_become_stale_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StrictDatahub(SUBTASK) as hub, Background(plugins.Steps, hub, tmp_path) as task:
        eventually((tmp_path / "started").exists)
        hub.set_status(2)
        hub.wait_for(lambda: hub.statuses == [1, 2])
        client = task.run._sup.client
        ask, held, release = client.notify, threading.Event(), threading.Event()

        def slow(*args: Any, **options: Any) -> TaskStatus:
            answer = ask(*args, **options)
            held.set()
            release.wait(20)
            return answer

        monkeypatch.setattr(client, "notify", slow)
        assert held.wait(20)
        task.run.resume()
        hub.wait_for(lambda: hub.statuses == [1, 2, 1])
        eventually(lambda: not task.run._reporter._pending)
        release.set()
        asked = len(hub.calls)
        hub.wait_for(lambda: len(hub.calls) >= asked + 10)
        (tmp_path / "go").touch()
        assert task.ended.exit_code == 0
        assert hub.statuses == [1, 2, 1, 3]
        assert hub.violations == []


def test_a_cancel_before_the_start_stops_at_the_first_checkpoint(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        with LocalEngine(plugins.Steps, settings_for(hub, tmp_path)) as engine:
            task = engine.run(SUBTASK)
            task.cancel()
            outcome = task.execute()
        assert outcome.exit_code == 4
        assert hub.statuses == [1, 4]
        assert hub.violations == []


def test_a_cancel_that_races_with_the_end_leaves_one_terminal_report(tmp_path: Path) -> None:
    for number, delay in enumerate((0.0, 0.005, 0.02, 0.05)):
        folder = tmp_path / str(number)
        with (
            StrictDatahub(SUBTASK) as hub,
            Background(plugins.Steps, hub, folder, poll_seconds=0.01) as task,
        ):
            eventually((folder / "started").exists)
            (folder / "go").touch()
            threading.Timer(delay, task.run.cancel).start()
            assert task.ended.status in {TaskStatus.COMPLETED, TaskStatus.CANCELLED}
            assert hub.statuses == [1, int(task.ended.status)]
            assert hub.violations == []


@pytest.mark.parametrize(("found", "code"), [(3, 0), (5, 1)])
def test_a_subtask_that_datahub_has_ended_is_left_alone(
    tmp_path: Path, found: int, code: int
) -> None:
    with StrictDatahub(SUBTASK) as hub, Background(plugins.Steps, hub, tmp_path) as task:
        eventually((tmp_path / "started").exists)
        hub.set_status(found)
        assert task.ended.status == found
        assert task.ended.exit_code == code
        assert task.ended.error is not None
        assert hub.statuses == [1]
        assert hub.violations == []


def test_a_subtask_that_datahub_no_longer_knows_is_stopped(tmp_path: Path) -> None:
    with (
        StrictDatahub(SUBTASK) as hub,
        Background(plugins.Steps, hub, tmp_path, poll_seconds=0) as task,
    ):
        eventually((tmp_path / "started").exists)
        hub.fail_next("/api/task/notify", 1, "code1")
        hub.fail_next("/api/task/heartbeat", 1, "code1")
        assert task.ended.exit_code == 1
        assert hub.statuses == [1]
        assert hub.violations == []


def test_one_refused_heartbeat_is_not_the_end(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub, Background(plugins.Steps, hub, tmp_path) as task:
        eventually((tmp_path / "started").exists)
        hub.fail_next("/api/task/heartbeat", 1, "code1")
        beats = len(hub.heartbeats)
        hub.wait_for(lambda: len(hub.heartbeats) >= beats + 3)
        (tmp_path / "go").touch()
        assert task.ended.exit_code == 0
        assert hub.violations == []


@pytest.mark.parametrize(
    ("changes", "limit"),
    [({}, 0.5), ({"timeout_seconds": 0.2}, 0.2), ({"isolation": "thread"}, 0.5)],
)
def test_a_task_may_take_only_so_long(
    tmp_path: Path, changes: dict[str, Any], limit: float
) -> None:
    with StrictDatahub(SUBTASK) as hub:
        outcome = run(plugins.Forever, hub, tmp_path, **changes)
        assert hub.statuses == [1, 5]
        assert hub.violations == []
    assert outcome.error == f"the task took longer than {limit:g} s"


def test_a_task_that_took_too_long_has_failed_and_was_not_cancelled(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        run(plugins.Steps, hub, tmp_path, timeout_seconds=0.5)
        assert hub.statuses == [1, 5]
    assert (tmp_path / "hooks").read_text().split("\n")[:2] == ["failure", "finish 5"]


class Listener:
    def __init__(self) -> None:
        self.stalls: list[float] = []
        self.seen: list[tuple[int, int]] = []

    @hookimpl
    def datahub_stalled(self, seconds: float) -> None:
        self.stalls.append(seconds)

    @hookimpl
    def datahub_status_changed(self, old: TaskStatus, new: TaskStatus) -> None:
        self.seen.append((int(old), int(new)))


def test_a_stall_is_told_and_nothing_is_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once for each stall, and once when it is over."""
    listener = Listener()
    with StrictDatahub(SUBTASK) as hub:
        settings = settings_for(hub, tmp_path, stall_seconds=0.2, isolation="thread")
        with LocalEngine(plugins.Halting, settings, observers={"listener": listener}) as engine:
            task = threading.Thread(target=engine.run(SUBTASK).execute)
            task.start()
            eventually(lambda: listener.stalls)
            beats = len(hub.heartbeats)  # of which there are two in the time of a stall
            hub.wait_for(lambda: len(hub.heartbeats) >= beats + 6)
            assert len(listener.stalls) == 1
            (tmp_path / "go-1").touch()
            eventually(lambda: len(listener.stalls) == 2)
            (tmp_path / "go-2").touch()
            task.join(20)
        assert hub.statuses == [1, 3]
    assert all(0.2 <= seconds < 5 for seconds in listener.stalls)
    assert [text.count("no progress for") for text in caplog.messages].count(1) == 2
    assert [text.count("progress again, after") for text in caplog.messages].count(1) == 2
    assert listener.seen == [(0, 1), (1, 3)]


def test_heartbeats_are_on_time_while_the_plugin_holds_the_gil(tmp_path: Path) -> None:
    seconds = int(os.environ.get("GIL_HELD_SECONDS", "3"))
    with StrictDatahub(SUBTASK) as hub:
        outcome = run(plugins.Greedy, hub, tmp_path, {"seconds": seconds}, heartbeat_seconds=0.5)
        assert outcome.exit_code == 0
        times = [when for when, _ in hub.heartbeats]
        assert hub.violations == []
    assert times[-1] - times[0] > seconds - 2
    assert max(after - before for before, after in itertools.pairwise(times)) < 2.5


def test_a_plugin_that_holds_the_gil_is_killed_when_its_time_is_up(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        outcome = run(
            plugins.Greedy, hub, tmp_path, {"seconds": 60}, timeout_seconds=0.5, grace_seconds=0.2
        )
        assert outcome.error == "the task took longer than 0.5 s"
        assert hub.statuses == [1, 5]
        assert hub.violations == []
