"""Signals, kills and a second start: what is left, and what the next start makes of it."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from plugin_framework.engines.delivery import deliver_kept
from plugin_framework.engines.local import LocalEngine
from plugin_framework.journal.journal import Journal
from plugin_framework.lifecycle.watch import TERM_TO_KILL_SECONDS
from tests.lifecycle import plugins
from tests.lifecycle.running import (
    SUBTASK,
    Background,
    eventually,
    finish,
    gone,
    run,
    settings_for,
    start,
)
from tests.strict_datahub import StrictDatahub

RESULT, STATUS, NOTIFY = "/api/task/result", "/api/task/update_status", "/api/task/notify"


def started(hub: StrictDatahub, state_dir: Path, **variables: Any) -> subprocess.Popen[str]:
    command = start(plugins.Steps, hub, state_dir, **variables)
    eventually((state_dir / "started").exists)
    hub.wait_for(lambda: hub.heartbeats)
    return command


def resumed(hub: StrictDatahub, state_dir: Path, **changes: Any) -> Any:
    (state_dir / "go").touch()
    return run(plugins.Steps, hub, state_dir, isolation="thread", **changes)


@pytest.mark.parametrize(
    ("policy", "number", "code", "statuses"),
    [
        ("fail", signal.SIGTERM, 1, [1, 5]),
        ("cancel", signal.SIGINT, 4, [1, 4]),
        ("pause", signal.SIGINT, 130, [1, 2]),
        ("pause", signal.SIGTERM, 143, [1, 2]),
        ("leave", signal.SIGTERM, 143, [1]),
    ],
)
def test_a_signal_does_what_the_policy_says(
    tmp_path: Path, policy: str, number: int, code: int, statuses: list[int]
) -> None:
    with StrictDatahub(SUBTASK) as hub:
        command = started(hub, tmp_path, on_shutdown=policy)
        command.send_signal(number)
        exit_code, outcome, _ = finish(command)
        assert exit_code == code
        assert hub.statuses == statuses
        assert outcome["status"] == statuses[-1]
        if policy in {"pause", "leave"}:
            result = resumed(hub, tmp_path).result
            assert result == {
                "before": {"attempts": 1},
                "files": ["attempt-1", "attempt-2"],
                "attempt": 2,
            }
            assert hub.statuses == [*statuses, 3] if policy == "leave" else [1, 2, 1, 3]
        assert hub.violations == []


@pytest.mark.parametrize("policy", ["fail", "pause"])
def test_what_ignores_a_signal_is_killed_after_the_grace_period(
    tmp_path: Path, policy: str
) -> None:
    with StrictDatahub(SUBTASK) as hub:
        command = start(plugins.Stubborn, hub, tmp_path, on_shutdown=policy, grace_seconds=0.5)
        eventually((tmp_path / "child").exists)
        eventually((tmp_path / "started").exists)
        before = time.monotonic()
        command.send_signal(signal.SIGTERM)
        code, _, _ = finish(command)
        assert time.monotonic() - before < 15, "not the half minute of the default grace"
        assert code == (143 if policy == "pause" else 1)
        assert hub.statuses == ([1, 2] if policy == "pause" else [1, 5])
        assert hub.violations == []
    for name in ("started", "child"):
        gone(int((tmp_path / name).read_text()))


@pytest.mark.parametrize(("policy", "statuses"), [("pause", [1, 2]), ("leave", [1])])
@pytest.mark.parametrize("child", ["false", "true"])
def test_what_ends_by_itself_at_the_end_of_the_grace_period_has_not_failed(
    tmp_path: Path, policy: str, statuses: list[int], child: str
) -> None:
    config = ("--set", f"child={child}")
    with StrictDatahub(SUBTASK) as hub:
        settings: dict[str, Any] = {"on_shutdown": policy, "grace_seconds": 0.5}
        command = start(plugins.Polite, hub, tmp_path, *config, **settings)
        eventually((tmp_path / "started").exists)
        command.terminate()
        code, outcome, said = finish(command)
        assert (code, outcome["status"]) == (143, statuses[-1]), said
        assert hub.statuses == statuses
        assert not (tmp_path / "hooks").exists()
        assert run(plugins.Polite, hub, tmp_path).result == {"rows": 7}
        assert hub.violations == []


def test_a_second_signal_waits_no_longer(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        command = start(plugins.Stubborn, hub, tmp_path, grace_seconds=60)
        eventually((tmp_path / "started").exists)
        hub.wait_for(lambda: hub.heartbeats)
        command.send_signal(signal.SIGTERM)
        assert command.stderr
        while "stopped by SIGTERM" not in command.stderr.readline():
            assert command.poll() is None
        command.send_signal(signal.SIGINT)
        code, outcome, _ = finish(command, timeout=15)
        assert code == 1
        assert outcome["error"] == "stopped by SIGTERM"
        assert hub.statuses == [1, 5]
        assert hub.violations == []


def test_a_second_signal_leaves_what_ignores_sigterm_no_second(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        settings = settings_for(hub, tmp_path, grace_seconds=60)
        with LocalEngine(plugins.Stubborn, settings) as engine:
            run = engine.run(SUBTASK)
            done = threading.Thread(target=run.execute)
            done.start()
            eventually(
                lambda: list(tmp_path.glob("started")) and (tmp_path / "started").read_text()
            )
            run.shutdown(signal.SIGINT)
            begun = time.monotonic()
            run.shutdown(signal.SIGINT)
            gone(int((tmp_path / "started").read_text()))
            spent = time.monotonic() - begun
            done.join()
    # Of the seconds that a first signal waits between SIGTERM and SIGKILL, nothing is left.
    assert spent < TERM_TO_KILL_SECONDS
    assert hub.statuses == [1, 5]


def test_what_is_left_has_the_grace_period_to_reach_a_checkpoint(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        command = start(plugins.Rows, hub, tmp_path, on_shutdown="leave", grace_seconds=60)
        eventually((tmp_path / "started").exists)
        command.terminate()
        assert command.stderr
        while "stopped by SIGTERM" not in command.stderr.readline():
            assert command.poll() is None
        (tmp_path / "go").touch()
        code, outcome, _ = finish(command)
        assert (code, outcome["error"]) == (143, "stopped by SIGTERM")
        # It is as with a pause, but Datahub is not told.
        assert (tmp_path / "hooks").read_text() == "pause\n"
        assert hub.statuses == [1]
        assert run(plugins.Rows, hub, tmp_path).result == {"found": 1}
        assert hub.statuses == [1, 3]
        assert hub.violations == []


def test_two_signals_in_quick_succession_are_one_end(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        command = started(hub, tmp_path, grace_seconds=5)
        for _ in range(10):
            command.send_signal(signal.SIGTERM)
            command.send_signal(signal.SIGINT)
        code, _, _ = finish(command, timeout=15)
        assert code == 1
        assert hub.statuses == [1, 5]
        assert hub.violations == []


def test_a_signal_ends_the_wait_for_a_datahub_that_is_down(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        command = started(hub, tmp_path, delivery_deadline=600, grace_seconds=0.5)
        hub.stop_listening()
        before = time.monotonic()
        command.send_signal(signal.SIGTERM)
        code, outcome, _ = finish(command)
        assert time.monotonic() - before < 15
        assert (code, outcome["delivered"]) == (75, False)
        hub.start_listening()
        assert resumed(hub, tmp_path).exit_code == 1
        assert hub.statuses == [1, 5]
        assert hub.violations == []


def test_a_signal_ends_the_wait_for_a_datahub_that_hangs(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        command = started(hub, tmp_path, delivery_deadline=600, grace_seconds=0.5)
        for path in (STATUS, "/api/task/heartbeat", "/api/task/notify"):
            hub.fail_next(path, 100, "hang")
        calls = len(hub.calls)
        hub.wait_for(lambda: len(hub.calls) > calls)
        before = time.monotonic()
        command.send_signal(signal.SIGTERM)
        code, _, _ = finish(command)
        assert time.monotonic() - before < 15
        assert code == 75


def test_a_signal_ends_another_try_at_delivering(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next(RESULT, 1000, "503")
        slow = {"isolation": "thread", "delivery_deadline": 0.1}
        kept = run(plugins.Quick, hub, tmp_path, None, **slow)
        calls = len(hub.calls)
        command = start(plugins.Quick, hub, tmp_path, delivery_deadline=600, grace_seconds=0.2)
        hub.wait_for(lambda: len(hub.calls) > calls + 1)
        command.send_signal(signal.SIGTERM)
        code, outcome, _ = finish(command)
        assert (code, outcome["result"]) == (75, kept.result)


def test_what_is_paused_already_is_left_so_at_once(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        command = started(hub, tmp_path, on_shutdown="pause", grace_seconds=60)
        hub.set_status(2)
        hub.wait_for(lambda: hub.statuses == [1, 2])
        command.send_signal(signal.SIGINT)
        assert finish(command, timeout=20)[0] == 130
        assert hub.statuses == [1, 2]
        assert hub.violations == []


def test_a_signal_before_the_start(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next(STATUS, 1000, "503")
        hub.retry_after = 60  # for a signal amid a call counts as one after the start
        command = start(plugins.Quick, hub, tmp_path, startup_deadline=120)
        assert command.stderr is not None
        while "trying again in" not in command.stderr.readline():
            assert command.poll() is None
        while command.poll() is None:  # any number of them are one
            command.terminate()
            threading.Event().wait(0.05)
        code, _, said = finish(command)
        assert code == 143, said
        assert hub.statuses == []
        while hub._next_fault(STATUS):
            pass
        outcome = run(plugins.Quick, hub, tmp_path, isolation="thread", on_interrupted="fail")
        assert (outcome.attempt, outcome.exit_code) == (1, 0)
        assert hub.violations == []


@pytest.mark.parametrize(
    ("policy", "code", "statuses"),
    [("fail", 1, [1, 5]), ("cancel", 4, [1, 4]), ("pause", 143, [1, 2]), ("leave", 143, [1])],
)
def test_a_signal_while_datahub_is_told_of_the_start(
    tmp_path: Path, policy: str, code: int, statuses: list[int]
) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next(STATUS, 2, "reset_after")
        hub.fail_next(NOTIFY, 1, "503")
        command = start(plugins.Quick, hub, tmp_path, on_shutdown=policy, grace_seconds=20)
        hub.wait_for(lambda: hub.calls)
        command.terminate()
        exit_code, outcome, said = finish(command)
        assert (exit_code, outcome["status"]) == (code, statuses[-1]), said
        assert hub.statuses == statuses
        assert not (tmp_path / "runs").exists()
        assert hub.violations == []


def test_what_a_signal_ended_at_its_start_is_kept_where_datahub_hangs(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next(STATUS, 1, "hang")
        command = start(plugins.Quick, hub, tmp_path, grace_seconds=0.5)
        hub.wait_for(lambda: hub.calls)
        command.terminate()
        assert finish(command)[0] == 75
        assert run(plugins.Quick, hub, tmp_path, isolation="thread").exit_code == 1
        assert hub.statuses == [1, 5]
        assert not (tmp_path / "runs").exists()
        assert hub.violations == []


@pytest.mark.parametrize(("policy", "statuses"), [("resume", [1, 3]), ("fail", [1, 5])])
def test_the_supervisor_is_killed_while_the_plugin_works(
    tmp_path: Path, policy: str, statuses: list[int]
) -> None:
    with StrictDatahub(SUBTASK) as hub:
        command = started(hub, tmp_path)
        command.kill()
        command.communicate()
        gone(int((tmp_path / "started").read_text()))
        outcome = resumed(hub, tmp_path, on_interrupted=policy)
        assert hub.statuses == statuses
        assert outcome.attempt == 2
        assert hub.violations == []
    if policy == "fail":
        assert outcome.error == "an attempt before this one was killed"


@pytest.mark.parametrize("how", ["503", "reset_before", "reset_after", "hang"])
def test_the_supervisor_is_killed_with_its_result_undelivered(tmp_path: Path, how: Any) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next(RESULT, 1 if how in {"reset_after", "hang"} else 3, how)
        hub.fail_next("/api/task/notify", 100, "503")
        command = start(plugins.Quick, hub, tmp_path)
        hub.wait_for(lambda: any(call.path == RESULT for call in hub.calls))
        command.kill()
        command.communicate()
        assert list((tmp_path / "work").iterdir())
        while hub._next_fault("/api/task/notify"):
            pass
        outcome = run(plugins.Quick, hub, tmp_path, isolation="thread", delivery_deadline=30)
        assert outcome.exit_code == 0
        assert outcome.result == hub.result
        assert hub.statuses == [1, 3]
        assert hub.violations == []
    assert (tmp_path / "runs").read_text() == "."
    assert list((tmp_path / "work").iterdir()) == []


def test_a_status_that_a_killed_attempt_left_goes_before_the_next_start(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        command = started(hub, tmp_path)
        hub.wait_for(lambda: hub.heartbeats[-1][1] > 3)
        hub.fail_next(STATUS, 50, "503")
        hub.set_status(2)
        hub.wait_for(lambda: [c.content.get("status") for c in hub.calls].count(2) >= 2)
        command.kill()
        command.communicate()
        while hub._next_fault(STATUS):
            pass
        assert resumed(hub, tmp_path).exit_code == 0
        assert hub.statuses == [1, 2, 1, 3]
        assert hub.violations == []


def test_a_start_that_fails_keeps_what_an_earlier_attempt_left(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        command = started(hub, tmp_path, on_shutdown="pause", delivery_deadline=1)
        hub.stop_listening()
        command.terminate()
        assert finish(command)[0] == 75
        again = start(plugins.Steps, hub, tmp_path, startup_deadline=0.5)
        assert finish(again)[0] == 69
        hub.start_listening()
        assert resumed(hub, tmp_path).attempt == 2
        assert hub.statuses == [1, 2, 1, 3]
        assert hub.violations == []


def test_a_start_that_fails_does_not_hide_that_an_attempt_was_killed(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        command = started(hub, tmp_path)
        command.kill()
        command.communicate()
        hub.stop_listening()
        again = start(plugins.Steps, hub, tmp_path, startup_deadline=0.5, on_interrupted="fail")
        assert finish(again)[0] == 69
        hub.start_listening()
        assert resumed(hub, tmp_path, on_interrupted="fail").exit_code == 1
        assert hub.statuses == [1, 5]
        assert hub.violations == []


def test_that_a_subtask_runs_is_told_by_its_run_alone(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next(STATUS, 1, "hang")
        command = start(plugins.Quick, hub, tmp_path)
        hub.wait_for(lambda: hub.calls)
        command.kill()
        command.communicate()
        settings = settings_for(hub, tmp_path)
        with closing(Journal(tmp_path / "journal.sqlite3")) as journal:
            ((_, delivery),) = deliver_kept(settings, journal, journal.records.all())
        assert not delivery.done
        assert hub.statuses == []
        assert run(plugins.Quick, hub, tmp_path, isolation="thread").exit_code == 0
        assert hub.statuses == [1, 3]
        assert hub.violations == []


def test_a_journal_that_takes_nothing_more_costs_no_result(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        command = started(hub, tmp_path, delivery_deadline=1)
        _spoil(tmp_path / "journal.sqlite3")
        (tmp_path / "go").touch()
        code, outcome, said = finish(command)
        assert (code, outcome["status"], outcome["delivered"]) == (0, 3, True)
        assert "disk I/O error" in said
        assert said.count("cannot be journalled") == 1
        assert outcome["result"] == hub.result
        assert hub.statuses == [1, 3]
        assert hub.violations == []


def _spoil(journal: Path) -> None:
    """Have every further write refused, as on a disk that has gone bad."""
    with sqlite3.connect(journal) as db:
        db.execute(
            "CREATE TRIGGER spoilt BEFORE INSERT ON reports"
            " BEGIN SELECT raise(ABORT, 'disk I/O error'); END"
        )
    db.close()


def test_many_runs_in_a_row_leave_nothing_behind(tmp_path: Path) -> None:
    counts = []
    for number in range(12):
        with StrictDatahub(SUBTASK) as hub:
            run(plugins.Quick, hub, tmp_path / str(number), isolation="thread")
            assert hub.violations == []
        counts.append((threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))))
    eventually(lambda: threading.active_count() <= counts[1][0])
    assert counts[-1][1] <= counts[1][1] + 2
    with StrictDatahub(SUBTASK) as hub, Background(plugins.Quick, hub, tmp_path / "last") as task:
        assert task.ended.exit_code == 0
