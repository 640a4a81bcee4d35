"""What extensions are told, by runs against a Datahub and storage that fail on purpose."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from plugin_framework import DatahubPlugin, TaskContext, TaskStatus, hookimpl
from plugin_framework.emulator import Emulator
from plugin_framework.plugin.hookspecs import OBSERVER_HOOKS
from plugin_framework.testing import LocalDatahub, TaskRun
from tests.cli.calling import Ended, call
from tests.cli.running import Running
from tests.telemetry.plugins import Segfaults
from tests.telemetry.spans import CONSOLE, PLUGINS, Spans, identity


class Moves(DatahubPlugin):
    """Moves a file both ways, and says so."""

    def process(self, ctx: TaskContext) -> None:
        with ctx.open_input() as file:
            file.read(3)
        (ctx.output_dir / "out").write_bytes(ctx.download().read_bytes())
        ctx.tell("moved", files=2)


class Notes:
    """Keeps what it is told, by hook."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    def of(self, hook: str) -> list[dict[str, Any]]:
        return [facts for name, facts in self.told if name == hook]

    @hookimpl
    def datahub_attempt_begun(self, subtask_id: str, plugin: str, attempt: int) -> dict[str, str]:
        self.told.append(("begun", {"id": subtask_id, "plugin": plugin, "attempt": attempt}))
        return {"traceparent": "of-ours"}

    @hookimpl
    def datahub_attempt_ended(
        self, status: TaskStatus, error: str | None, seconds: float, memory: int
    ) -> None:
        self.told.append(("ended", {"status": status, "error": error, "memory": memory > 0}))
        assert seconds > 0

    @hookimpl
    def datahub_told(self, kind: str, facts: Mapping[str, Any]) -> None:
        self.told.append(("told", {"kind": kind, **facts}))

    @hookimpl
    def datahub_transfer_ended(
        self, direction: str, name: str, parts: int, retries: int, error: str | None
    ) -> None:
        facts = {"name": name, "parts": parts, "retries": retries, "error": error}
        self.told.append((direction, facts))

    @hookimpl
    def datahub_report_tried(
        self,
        kind: str,
        status: TaskStatus,
        error: str | None,
        again: bool,  # noqa: FBT001 - the hook's
    ) -> None:
        self.told.append((f"report {status.name}", {"kind": kind, "error": error, "again": again}))

    @hookimpl
    def datahub_heartbeat(self, late: float, error: str | None) -> None:
        self.told.append(("beat", {"late": late < 60, "error": error}))

    @hookimpl
    def datahub_closing(self) -> None:
        self.told.append(("closing", {}))


class Breaks:
    """Fails at whatever it is told."""


def _fail(self: Breaks) -> None:
    raise RuntimeError("an extension's own fault")


for _name in OBSERVER_HOOKS:
    setattr(Breaks, _name, hookimpl(_fail))


@pytest.fixture(scope="module")
def course() -> Notes:
    """Of a run whose result and whose upload take several attempts."""
    notes = Notes()
    rules = [
        {"fault": "status", "call": "result", "status": 503, "count": 2},
        {"fault": "status", "call": "put", "status": 503, "count": 1},
    ]
    with LocalDatahub() as datahub, datahub.faults(*rules):
        run = datahub.run(Moves, input=b"0123456789", extensions=[notes], isolation="thread")
        assert run.status is TaskStatus.COMPLETED
    return notes


def test_an_attempt_begins_and_ends(course: Notes) -> None:
    (begun,), (ended,) = course.of("begun"), course.of("ended")
    assert (begun["plugin"], begun["attempt"]) == ("Moves", 1)
    assert ended == {"status": TaskStatus.COMPLETED, "error": None, "memory": False}
    assert course.told[0][0] == "begun"
    assert [name for name, _ in course.told[-2:]] == ["ended", "closing"]


def test_parts_and_retries_of_transfers_are_counted(course: Notes) -> None:
    (sent,) = course.of("upload")
    assert sent == {"name": "out", "parts": 1, "retries": 1, "error": None}
    whole, in_place = sorted(course.of("download"), key=lambda one: one["parts"])
    assert {whole["error"], in_place["error"]} == {None}
    assert min(whole["parts"], in_place["parts"]) >= 1


def test_each_try_of_a_report_is_told(course: Notes) -> None:
    tried = course.of("report COMPLETED")
    assert [(one["error"], one["again"]) for one in tried] == [
        ("DH-203", True),
        ("DH-203", True),
        (None, False),
    ]
    assert {one["kind"] for one in tried} == {"result"}


def test_heartbeats_and_what_the_plugin_tells_are_told(course: Notes) -> None:
    assert course.of("beat")[0] == {"late": True, "error": None}
    assert course.of("told") == [{"kind": "moved", "files": 2}]


def test_an_attempt_in_a_process_says_what_memory_it_took(datahub: LocalDatahub) -> None:
    notes = Notes()
    run = datahub.run(Segfaults, input=b"x", isolation="process", extensions=[notes])
    assert run.status is TaskStatus.FAILED
    (ended,) = notes.of("ended")
    assert ended == {"status": TaskStatus.FAILED, "error": "DH-504", "memory": True}


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_an_extension_that_always_fails_changes_nothing(
    run_plugin: Callable[..., TaskRun], isolation: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = run_plugin(Moves, input=b"0123456789", extensions=[Breaks()], isolation=isolation)
    assert run.status is TaskStatus.COMPLETED
    assert run.statuses == [TaskStatus.RUNNING, TaskStatus.COMPLETED]
    assert run.outputs["out"].bytes() == b"0123456789"
    failed = {
        line.getMessage().split()[1] for line in caplog.records if line.name == "datahub.extensions"
    }
    assert {"test-1.datahub_attempt_begun", "test-1.datahub_transfer_ended"} <= failed


def test_what_a_killed_supervisor_leaves_is_traced_anew(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"x")
    with Emulator(state_dir=tmp_path / "datahub", key="key", secret="secret") as datahub:
        datahub.store.create_subtask("s-1", task_id="t-1", input=tmp_path / "input")
        env = {
            **CONSOLE,
            "DATAHUB_BASE_URL": datahub.url,
            "DATAHUB_API_KEY": "key",
            "DATAHUB_API_SECRET": "secret",
            "DATAHUB_STATE_DIR": str(tmp_path / "state"),
        }
        command = ("run", f"{PLUGINS}:Waits", "--subtask-id", "s-1")
        with Running(*command, cwd=tmp_path, **env) as running:
            running.wait_for(lambda: any('"waiting"' in line for line in running.err))
            running.process.send_signal(signal.SIGKILL)
            running.process.wait()
            first = Spans(Ended(-9, "", "\n".join(running.err)))
            lines = [line for line in first.ended.log if line.get("attempt") == 1]
        second = Spans(call(*command, cwd=tmp_path, env=env))
    assert second.ended.code == 0
    subtask = second.one("subtask Waits")
    assert subtask["attributes"]["datahub.attempt"] == 2
    assert second.one("hook process")["status"]["status_code"] == "UNSET"
    assert identity(subtask)[0] not in {line["trace_id"] for line in lines}
