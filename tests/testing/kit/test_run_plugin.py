"""Plugins are run to their end, and what Datahub saw of it is there to look at."""

from __future__ import annotations

import gc
import hashlib
import logging
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from plugin_framework import DatahubPlugin, TaskContext, TaskResult, TaskStatus, hookimpl
from plugin_framework.errors import InvalidConfigError, PluginLoadError, SettingsError
from plugin_framework.testing import LocalDatahub, TaskRun
from plugin_framework.testing import run_plugin as run_alone
from tests.emulator.calling import eventually
from tests.testing.kit.plugins import AsyncLines, Hooks, Lines, Waits

RUNNING, COMPLETED, FAILED = TaskStatus.RUNNING, TaskStatus.COMPLETED, TaskStatus.FAILED
RESULT = {"total_counts": 2, "success_counts": 2, "failed_counts": 0}
Run = Callable[..., TaskRun]


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_what_datahub_saw(run_plugin: Run, isolation: str) -> None:
    run = run_plugin(Lines, input=b"one\ntwo\n", isolation=isolation)
    assert run.statuses == [RUNNING, COMPLETED]
    assert (run.status, run.result, run.error, run.attempt) == (COMPLETED, RESULT, None, 1)
    assert [(line.level, line.message) for line in run.logs] == [
        ("INFO", "line one"),
        ("INFO", "line two"),
    ]
    output = run.outputs["counts/lines.txt"]
    assert (output.text(), output.bytes(), output.size) == ("2", b"2", 1)
    assert output.path.name == "lines.txt"
    with pytest.raises(KeyError, match=r"no output nope\.txt; there is counts/lines\.txt"):
        run.outputs["nope.txt"]
    assert output.sha256 == hashlib.sha256(b"2").hexdigest()
    assert run.heartbeats[0] == 0
    assert run.outcome is not None
    assert run.outcome.exit_code == 0
    assert repr(run) == f"<TaskRun completed: 1 output, result {RESULT!r}>"


def test_the_calls_that_were_made(run_plugin: Run) -> None:
    run = run_plugin(Lines, input=b"one\n", subtask_id="mine")
    calls = [(one.method, one.path.removeprefix("/api/task/")) for one in run.requests]
    beside = {("POST", "heartbeat"), ("GET", "notify")}
    assert [call for call in calls if call not in beside] == [
        ("POST", "update_status"),
        ("GET", "download/presign"),
        ("POST", "upload/init"),
        ("POST", "upload/complete"),
        ("POST", "result"),
    ]
    assert run.requests[-1].json == {"subtask_id": "mine", "result": run.result}
    assert "signature" not in repr(run.requests).lower()


def test_a_failure(run_plugin: Run) -> None:
    run = run_plugin(Lines, input=b"one\ntwo\n", config={"fail": 2})
    assert (run.status, run.result, run.outputs) == (FAILED, None, {})
    assert run.error == "line 2 cannot be read"
    assert repr(run) == "<TaskRun failed: line 2 cannot be read>"


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_what_cannot_be_run(run_plugin: Run, isolation: str) -> None:
    with pytest.raises(InvalidConfigError, match=r"config fial.*did you mean fail"):
        run_plugin(Lines, config={"fial": 2}, isolation=isolation)
    with pytest.raises(PluginLoadError, match="no_such_module"):
        run_plugin("no_such_module:Plugin", isolation=isolation)
    with pytest.raises(SettingsError, match="DATAHUB_GRACE_SECONDS"):
        run_plugin(Lines, settings={"grace_seconds": "soon"})
    with pytest.raises(PluginLoadError, match="give the class Lines, and not an object"):
        run_plugin(Lines(), isolation=isolation)
    for text in ("some text\n", "x" * 5000, "\0"):
        with pytest.raises(FileNotFoundError, match=r"^there is no file '.*for content give byt"):
            run_plugin(Lines, input=text)


def test_inputs(run_plugin: Run, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("a\n")
    for given in (file, str(file)):
        assert run_plugin(Lines, input=given).status is COMPLETED
    run = run_plugin(Lines)
    assert run.error is not None
    assert "no input" in run.error
    assert repr(run) == (
        "<TaskRun failed: RejectedError: GET /api/task/download/presign: HTTP 200, code 1"
        " (the subtask has no input file)>"
    )


class Miscounts(DatahubPlugin):
    def process(self, ctx: TaskContext) -> TaskResult:
        return TaskResult(total_counts="ma" + "ny", failed_counts=-1)  # type: ignore[arg-type]  # which is tried


def test_a_result_that_cannot_be_made(run_plugin: Run) -> None:
    assert run_plugin(Miscounts).error == (
        "ValidationError: TaskResult.total_counts: Input should be a valid integer, unable to parse"
        " string as an integer; TaskResult.failed_counts: Input should be greater than or equal"
        " to 0"
    )


def test_the_state_of_an_attempt_before(run_plugin: Run) -> None:
    run = run_plugin(Lines, input=b"one\ntwo\nthree\n", state={"done": 2})
    assert ([line.message for line in run.logs], run.attempt) == (["line three"], 2)


def test_nothing_comes_from_where_it_is_run(
    run_plugin: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("DATAHUB_GRACE_SECONDS=soon\nDATAHUB_TIMEOUT_SECONDS=0.001\n'")
    monkeypatch.setenv("DATAHUB_BASE_URL", "ftp://nowhere")
    monkeypatch.setenv("DATAHUB_API_SECRET", "canary")
    assert run_plugin(Lines, input=b"one\n").status is COMPLETED
    assert run_plugin(Hooks, isolation="process").result == {"environment": None}


class Watches:
    """An extension; its class is all that another process needs."""

    @hookimpl(wrapper=True)
    def process(self, ctx: TaskContext) -> Generator[None, Any, Any]:
        result = yield
        return {**result, "extended": ctx.attempt, "pid": os.getpid()}


class Counts:
    def __init__(self) -> None:
        self.statuses: list[TaskStatus] = []

    @hookimpl
    def datahub_status_changed(self, new: TaskStatus) -> None:
        self.statuses.append(new)


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_extensions(run_plugin: Run, isolation: str) -> None:
    counts = Counts()
    run = run_plugin(Hooks, isolation=isolation, extensions=[Watches(), counts])
    assert run.result is not None
    assert run.result["extended"] == 1
    assert (run.result["pid"] == os.getpid()) is (isolation == "thread")
    assert counts.statuses == [RUNNING, COMPLETED]


def test_each_test_has_a_datahub_of_its_own(run_plugin: Run, datahub: LocalDatahub) -> None:
    assert datahub.store.subtasks() == []
    assert run_plugin(Lines, input=b"", subtask_id="same").subtask_id == "same"
    with pytest.raises(ValueError, match="there is a subtask 'same' already"):
        run_plugin(Lines, input=b"", subtask_id="same")
    assert [run_plugin(Hooks).subtask_id for _ in range(2)] == ["subtask-1", "subtask-2"]


@pytest.mark.parametrize("_number", range(2))
def test_it_is_empty_again(run_plugin: Run, datahub: LocalDatahub, _number: int) -> None:
    assert datahub.requests == []
    assert run_plugin(Lines, input=b"", subtask_id="same").status is COMPLETED


def test_one_that_does_not_end(run_plugin: Run) -> None:
    with pytest.raises(TimeoutError, match=r"did not end within 0\.2 s: <TaskRun running>"):
        run_plugin(Waits, timeout=0.2)


def test_without_pytest() -> None:
    run = run_alone(AsyncLines)
    gc.collect()
    assert run.result == {"total_counts": 1, "success_counts": 0, "failed_counts": 0}
    assert run_alone(Lines, input=b"one").outputs["counts/lines.txt"].text() == "1"


def test_the_level_of_the_log_is_given_back(run_plugin: Run) -> None:
    logger = logging.getLogger("datahub")
    assert eventually(lambda: not logger.handlers)  # those of runs before that were left to end
    before = logger.level
    assert len(run_plugin(Lines, input=b"one\n").logs) == 1
    assert (logger.level, logger.handlers) == (before, [])


def test_no_secret_in_what_is_shown(run_plugin: Run, datahub: LocalDatahub) -> None:
    run = run_plugin(Lines, input=b"one\n")
    shown = f"{run!r} {datahub!r} {run.requests!r} {run.logs!r} {run.outcome!r} {vars(run)!r}"
    assert datahub._secret not in shown
    assert "X-Amz" not in shown
