"""Datahub is down, refuses, or loses its answers."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from plugin_framework.errors import (
    AuthenticationError,
    RejectedError,
    RetryableError,
    TaskLockedError,
)
from plugin_framework.journal.journal import Journal
from plugin_framework.protocol.models import TaskStatus
from tests.lifecycle import plugins
from tests.lifecycle.running import SUBTASK, Background, eventually, finish, run, start
from tests.strict_datahub import StrictDatahub

RESULT, STATUS, NOTIFY = "/api/task/result", "/api/task/update_status", "/api/task/notify"
HEARTBEAT = "/api/task/heartbeat"
THREAD: Mapping[str, Any] = {"isolation": "thread"}


def journal_of(state_dir: Path) -> tuple[int, bool]:
    """How many reports are pending, and whether the subtask is known."""
    journal = Journal(state_dir / "journal.sqlite3")
    known = journal._db._connection.execute("SELECT count(*) FROM subtasks").fetchone()[0]
    pending = journal.pending_reports(SUBTASK)
    journal.close()
    return len(pending), bool(known)


def test_down_at_the_start(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.stop_listening()
        with pytest.raises(RetryableError):
            run(plugins.Quick, hub, tmp_path, startup_deadline=0.5, **THREAD)
        command = start(plugins.Quick, hub, tmp_path, startup_deadline=0.5)
        code, outcome, said = finish(command)
        assert (code, outcome) == (69, None)
        assert len([line for line in said.splitlines() if "critical" in line]) == 1
        assert "Traceback" not in said
    assert not (tmp_path / "runs").exists()
    assert journal_of(tmp_path) == (0, False)
    assert list((tmp_path / "work").iterdir()) == []


def test_a_datahub_that_hangs_at_the_start(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next("/api/task/update_status", 99, "hang")
        before = time.monotonic()
        with pytest.raises(RetryableError):
            run(plugins.Quick, hub, tmp_path, startup_deadline=1, **THREAD)
        assert time.monotonic() - before < 10
    assert not (tmp_path / "runs").exists()


def test_a_wrong_secret_at_the_start(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK, key="key", secret="right-secret") as hub:
        keys: dict[str, Any] = {"api_key": "key", "api_secret": "wrong-secret"}
        with pytest.raises(AuthenticationError):
            run(plugins.Quick, hub, tmp_path, **THREAD, **keys)
        code, _, said = finish(start(plugins.Quick, hub, tmp_path, **keys))
        assert code == 2
        assert "wrong-secret" not in said
        assert hub.statuses == []
    assert not (tmp_path / "runs").exists()
    assert journal_of(tmp_path) == (0, False)


def test_an_unknown_subtask(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next(STATUS, 2, "code1")
        with pytest.raises(RejectedError):
            run(plugins.Quick, hub, tmp_path, **THREAD)
        assert finish(start(plugins.Quick, hub, tmp_path))[0] == 2
        assert hub.violations == []
    assert not (tmp_path / "runs").exists()
    assert journal_of(tmp_path) == (0, False)


def test_an_answer_to_the_start_that_is_lost(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next(STATUS, 1, "reset_after")
        assert run(plugins.Quick, hub, tmp_path, **THREAD).exit_code == 0
        assert hub.statuses == [1, 3]
        assert hub.repeats == 1
        assert hub.violations == []


def test_a_start_whose_repeat_is_refused_has_arrived(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next(STATUS, 1, "reset_after")
        hub.fail_next(STATUS, 1, "code1")
        assert run(plugins.Quick, hub, tmp_path, **THREAD).exit_code == 0
        assert hub.statuses == [1, 3]
        assert hub.repeats == 0
        assert hub.violations == []


def test_a_start_that_was_asked_for_and_whose_answer_is_lost_is_repeated(tmp_path: Path) -> None:
    """Notify says 1 since a resume was asked for: that does not say that ours arrived."""
    with StrictDatahub(SUBTASK) as hub:
        hub.set_status(1)
        hub.fail_next(STATUS, 1, "reset_before")
        assert run(plugins.Quick, hub, tmp_path, **THREAD).exit_code == 0
        assert hub.statuses == [1, 3]
        assert hub.violations == []


def test_down_in_the_middle_and_the_work_goes_on(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub, Background(plugins.Steps, hub, tmp_path) as task:
        hub.wait_for(lambda: len(hub.heartbeats) >= 2)
        hub.stop_listening()
        before = len(hub.heartbeats)
        progress = task.run.percent
        eventually(lambda: task.run.percent > progress + 20)
        hub.start_listening()
        hub.wait_for(lambda: len(hub.heartbeats) >= before + 1)
        first = hub.heartbeats[before][0]
        hub.wait_for(lambda: len(hub.heartbeats) >= before + 5)
        # They come one by one again: nothing has piled up.
        assert hub.heartbeats[before + 4][0] - first > 0.2
        (tmp_path / "go").touch()
        assert task.ended.exit_code == 0
        assert hub.violations == []


def test_down_when_the_result_is_due(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub, Background(plugins.Steps, hub, tmp_path) as task:
        eventually((tmp_path / "started").exists)
        hub.stop_listening()
        (tmp_path / "go").touch()
        eventually(lambda: journal_of(tmp_path)[0] == 1)
        hub.start_listening()
        hub.wait_for(lambda: hub.result)
        assert task.ended.delivered
        assert hub.statuses == [1, 3]
        assert hub.violations == []


def test_a_result_that_could_not_be_delivered_is_by_the_next_run(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next(RESULT, 50, "503")
        kept = run(plugins.Quick, hub, tmp_path, delivery_deadline=0.3, **THREAD)
        assert (kept.exit_code, kept.delivered, kept.status) == (75, False, TaskStatus.COMPLETED)
        assert kept.error is not None
        assert "503" in kept.error
        eventually(lambda: hub._next_fault(RESULT) is None)
        code, outcome, _ = finish(start(plugins.Quick, hub, tmp_path))
        assert code == 0
        assert outcome["result"] == kept.result == hub.result
        sent = {json.dumps(call.content) for call in hub.calls if call.path == RESULT}
        assert len(sent) == 1
        assert hub.statuses == [1, 3]
        assert hub.violations == []
        third = run(plugins.Quick, hub, tmp_path, **THREAD)
        assert third == kept.__class__(
            **{**{f: getattr(kept, f) for f in kept.__slots__}, "delivered": True, "error": None}
        )
    assert (tmp_path / "runs").read_text() == "."


def test_a_subtask_that_was_created_anew_is_run_again(tmp_path: Path) -> None:
    outcomes = []
    for _ in range(2):
        with StrictDatahub(SUBTASK) as hub:
            outcomes.append(run(plugins.Quick, hub, tmp_path, **THREAD))
            again = run(plugins.Quick, hub, tmp_path, **THREAD)
            assert again.result == outcomes[-1].result
            assert hub.statuses == [1, 3]
            assert hub.violations == []
    assert [outcome.attempt for outcome in outcomes] == [1, 1]
    assert outcomes[0].result != outcomes[1].result


def test_a_rerun_of_an_ended_subtask_says_that_nothing_is_run(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        run(plugins.Quick, hub, tmp_path, **THREAD)
        _, _, said = finish(start(plugins.Quick, hub, tmp_path))
        assert "has ended already (completed): the plugin is not run again" in said


def test_delivery_stops_with_its_run(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next(RESULT, 1000, "503")
        run(plugins.Quick, hub, tmp_path, delivery_deadline=0.2, **THREAD)
        calls = len(hub.calls)
        with pytest.raises(TimeoutError):
            hub.wait_for(lambda: len(hub.calls) > calls, timeout=1.5)


def test_an_answer_to_the_result_that_is_lost(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next(RESULT, 1, "reset_after")
        outcome = run(plugins.Quick, hub, tmp_path, poll_seconds=0, **THREAD)
        assert outcome.exit_code == 0
        paths = [call.path for call in hub.calls if call.path != "/api/task/heartbeat"]
        assert paths == [STATUS, RESULT, NOTIFY]
        assert hub.repeats == 0
        assert hub.violations == []


def test_a_confirmed_cancel_whose_answer_is_lost_is_repeated_as_it_was(tmp_path: Path) -> None:
    """Notify says 4 since the cancel was asked for: that does not say that ours arrived."""
    with StrictDatahub(SUBTASK) as hub, Background(plugins.Steps, hub, tmp_path) as task:
        eventually((tmp_path / "started").exists)
        hub.fail_next(STATUS, 1, "reset_before")
        hub.set_status(4)
        assert task.ended.exit_code == 4
        assert hub.statuses == [1, 4]
        assert hub.violations == []


def test_a_pause_whose_answer_is_lost_is_repeated(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub, Background(plugins.Steps, hub, tmp_path) as task:
        eventually((tmp_path / "started").exists)
        hub.fail_next(STATUS, 2, "reset_before")
        hub.set_status(2)
        hub.wait_for(lambda: hub.statuses == [1, 2])
        hub.set_status(1)
        hub.wait_for(lambda: hub.statuses == [1, 2, 1])
        (tmp_path / "go").touch()
        assert task.ended.exit_code == 0
        assert hub.violations == []


def test_a_result_that_is_refused_is_kept(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next(RESULT, 1, "code1")
        outcome = run(plugins.Quick, hub, tmp_path, **THREAD)
        assert (outcome.exit_code, outcome.delivered) == (75, False)
        again = run(plugins.Quick, hub, tmp_path, **THREAD)
        assert again.exit_code == 75
        assert again.result == outcome.result
        assert hub.violations == []
    assert (tmp_path / "runs").read_text() == "."


def test_a_result_that_a_proxy_refuses_is_sent_again(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next(RESULT, 2, "proxy")
        outcome = run(plugins.Quick, hub, tmp_path, **THREAD)
        assert (outcome.exit_code, outcome.delivered) == (0, True)
        assert hub.statuses == [1, 3]
        assert hub.violations == []


def test_a_result_that_a_proxy_refuses_for_long_is_kept(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next(RESULT, 99, "proxy")
        outcome = run(plugins.Quick, hub, tmp_path, delivery_deadline=0.3, **THREAD)
        assert (outcome.exit_code, outcome.delivered) == (75, False)
        assert "HTTP 403" in (outcome.error or "")
        assert journal_of(tmp_path)[0] == 1


def test_a_proxy_that_lets_nothing_through_ends_no_work(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub, Background(plugins.Steps, hub, tmp_path) as task:
        hub.wait_for(lambda: hub.heartbeats)
        for path in (HEARTBEAT, NOTIFY):
            hub.fail_next(path, 3, "proxy")
        before = len(hub.heartbeats)
        hub.wait_for(lambda: len(hub.heartbeats) > before + 1)
        (tmp_path / "go").touch()
        assert task.ended.exit_code == 0
        assert hub.statuses == [1, 3]


def test_a_result_that_comes_after_datahub_ended_the_subtask(tmp_path: Path) -> None:
    with (
        StrictDatahub(SUBTASK) as hub,
        Background(plugins.Deaf, hub, tmp_path, poll_seconds=0) as task,
    ):
        eventually((tmp_path / "started").exists)
        hub.set_status(4)
        hub.fail_next(RESULT, 1, "code1")
        (tmp_path / "go").touch()
        assert task.ended.status == TaskStatus.CANCELLED
        assert task.ended.exit_code == 4
        assert run(plugins.Deaf, hub, tmp_path).exit_code == 4
        assert hub.violations == []


def test_the_same_subtask_twice_at_once(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub, Background(plugins.Steps, hub, tmp_path) as task:
        eventually((tmp_path / "started").exists)
        with pytest.raises(TaskLockedError, match=r"process \d+ since 2"):
            run(plugins.Steps, hub, tmp_path, **THREAD)
        code, outcome, said = finish(start(plugins.Steps, hub, tmp_path))
        assert (code, outcome) == (75, None)
        assert "already running here" in said
        (tmp_path / "go").touch()
        assert task.ended.exit_code == 0
        assert hub.statuses == [1, 3]
        assert hub.violations == []
