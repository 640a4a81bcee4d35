"""Whatever a plugin does to its process, the supervisor learns how it ended, and goes on."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plugin_framework.errors import (
    InvalidConfigError,
    JournalError,
    PluginCrashedError,
    PluginLoadError,
    StorageError,
)
from plugin_framework.isolation.process import ProcessIsolation
from plugin_framework.isolation.process_worker import ProcessWorker
from plugin_framework.isolation.worker_exit import WorkerExit
from plugin_framework.plugin.json_limits import DEPTH_LIMIT
from plugin_framework.plugin.loader import PluginRef, ref_of
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.transfer.refusals import UrlExpiredError
from tests.isolation.hostile import FailsToStart, Hostile
from tests.isolation.recording_host import DEADLINE, RecordingHost, facts

SECRET = "canary-4711-secret-of-the-supervisor"
PUBLIC = "canary-0815-of-the-environment"


@pytest.fixture(scope="module")
def isolation() -> Iterator[ProcessIsolation]:
    os.environ["DATAHUB_API_SECRET"] = SECRET
    os.environ["DATAHUB_TEST_PUBLIC"] = PUBLIC
    running = ProcessIsolation(ref_of(Hostile), secrets=frozenset({"DATAHUB_API_SECRET"}))
    yield running
    running.close()
    del os.environ["DATAHUB_API_SECRET"], os.environ["DATAHUB_TEST_PUBLIC"]


class Task:
    def __init__(self, isolation: ProcessIsolation, folder: Path, do: str, text: str = "") -> None:
        self.host = RecordingHost(b"0123456789")
        config = {"do": do, "text": text}
        self.worker: ProcessWorker = isolation.start(
            facts(folder, config), self.host, self.host.exited
        )

    def wait(self) -> RecordingHost:
        self.host.wait()
        return self.host


@pytest.fixture
def run(isolation: ProcessIsolation, tmp_path: Path) -> Callable[..., RecordingHost]:
    return lambda do, text="": Task(isolation, tmp_path, do, text).wait()


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.DEBUG)
    return lambda: [record.getMessage() for record in caplog.records]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)


def lives(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("do", "line"),
    [
        ("ValueError", "ValueError: bad"),
        ("SystemExit", "SystemExit: 0"),
        ("KeyboardInterrupt", "KeyboardInterrupt"),
        ("OwnError", "OwnError: own"),
        ("PluginError", "for people"),
        ("UnprintableError", "UnprintableError"),
        ("surrogate", "ValueError: ?"),
    ],
)
def test_what_is_raised_is_the_ending(
    run: Callable[..., RecordingHost], logged: Callable[[], list[str]], do: str, line: str
) -> None:
    host = run(do)
    assert host.ending.kind == "failed"
    assert host.ending.error == line
    assert host.exit == WorkerExit(0, host.wait().peak_kib)
    assert "finished with 5" in logged()
    assert any("Traceback" in text for text in logged()) is (do != "PluginError")


def test_a_huge_message_is_cut(run: Callable[..., RecordingHost]) -> None:
    host = run("long")
    assert host.ending.error is not None
    assert len(host.ending.error) < 100_000


@pytest.mark.parametrize(
    ("do", "code", "cause"),
    [
        ("os exit", 0, "exited with code 0 before its task had ended"),
        ("segfault", -signal.SIGSEGV, "SIGSEGV"),
        ("sigkill", -signal.SIGKILL, "out of memory (peak memory"),
        ("realtime signal", -40, "killed by signal 40"),
        ("half a message", -signal.SIGKILL, "perhaps out of memory (peak memory"),
    ],
)
def test_how_it_died_is_said(
    run: Callable[..., RecordingHost], do: str, code: int, cause: str
) -> None:
    host = run(do)
    assert host.endings == []
    assert host.wait().code == code
    assert cause in host.wait().cause()


def test_who_kills_the_forkserver_dies_with_it_and_the_next_task_runs(
    isolation: ProcessIsolation, tmp_path: Path
) -> None:
    hanging = Task(isolation, tmp_path / "a", "hang")
    assert hanging.host.moved.wait(DEADLINE)
    killer = Task(isolation, tmp_path / "b", "kill parent")
    for task in (killer, hanging):
        how = task.wait().wait()
        assert how.code == -signal.SIGKILL
        assert how.cause() == (
            "the plugin's process ended with the process that had the plugin imported,"
            " which was killed by signal 9 (SIGKILL)"
        )
        pid = task.worker.pid
        assert pid is not None
        until(lambda pid=pid: not lives(pid))  # type: ignore[misc]  # a bound default
    isolation.check({})
    assert Task(isolation, tmp_path / "c", "nothing").wait().ending.kind == "returned"


def test_no_orphan_survives(run: Callable[..., RecordingHost]) -> None:
    host = run("leak")
    assert host.ending.result is not None
    assert host.wait().code == 0
    assert [pid for pid in host.ending.result["pids"] if lives(pid)] == []


def test_what_a_command_started_dies_with_a_killed_task(
    run: Callable[..., RecordingHost], tmp_path: Path
) -> None:
    assert run("command then sigkill").wait().code == -signal.SIGKILL
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    assert [pid for pid in pids if lives(pid)] == []


@pytest.mark.parametrize("last_words", [None, {"fork": True}, {"fo": "unknown"}])
def test_no_daemon_survives_the_supervisor_wherever_it_was_killed(
    tmp_path: Path, last_words: dict[str, Any] | None
) -> None:
    isolation = ProcessIsolation(ref_of(Hostile), secrets=frozenset())
    Task(isolation, tmp_path, "daemon then hang")
    until((tmp_path / "pids").exists)
    server = isolation._server
    if last_words is not None:
        server._channel.send(last_words)
    isolation.close()
    until(lambda: not lives(int((tmp_path / "pids").read_text())))


def test_a_hanging_task_can_only_be_killed(isolation: ProcessIsolation, tmp_path: Path) -> None:
    task = Task(isolation, tmp_path, "hang")
    assert task.host.moved.wait(DEADLINE)
    task.worker.signal("cancel")
    task.worker.terminate()
    assert not task.host.gone.is_set()
    task.worker.kill()
    assert task.wait().wait().code == -signal.SIGKILL
    task.worker.signal("cancel")
    task.worker.kill()


def test_a_cancel_reaches_the_checkpoint(isolation: ProcessIsolation, tmp_path: Path) -> None:
    task = Task(isolation, tmp_path, "checkpoints")
    assert task.host.moved.wait(DEADLINE)
    task.worker.signal("pause")
    assert task.host.held.wait(DEADLINE)
    task.worker.signal("resume")
    task.worker.signal("cancel")
    assert task.wait().ending.kind == "cancelled"
    assert set(task.host.confirmed) <= {TaskStatus.PAUSED, TaskStatus.RUNNING}


def test_what_is_printed_is_logged_and_not_printed(
    run: Callable[..., RecordingHost],
    logged: Callable[[], list[str]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    run("print much")
    lines = logged()
    assert {"printed", "from C", "on stderr"} <= set(lines)
    assert "no newlinefinished with 3" in lines
    assert sum(line.count("h") for line in lines if set(line) == {"h", " "}) == 200_000
    assert capfd.readouterr().out == ""


def test_log_records_arrive(
    run: Callable[..., RecordingHost], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert run("log much").ending.kind == "returned"
    records = {record.getMessage()[:20]: record for record in caplog.records}
    assert records["careful, you"].levelno == logging.WARNING
    assert records["careful, you"].name == "datahub.plugin.Hostile"
    assert records["from a library"].name == "somewhere.else"
    failure = next(text for text in caplog.messages if text.startswith("it failed"))
    assert "ValueError: invalid literal" in failure
    assert "? alone" in records
    assert max(map(len, caplog.messages)) < 100_000


def test_secrets_are_not_in_its_environment(run: Callable[..., RecordingHost]) -> None:
    result = run("environment").ending.result
    assert result is not None
    assert "PATH" in result["own"]
    assert "DATAHUB_API_SECRET" not in result["own"]
    assert "PATH=" in result["parent"]
    assert SECRET not in result["parent"]


def test_secrets_are_not_in_its_memory(run: Callable[..., RecordingHost]) -> None:
    assert _found(run, PUBLIC) > 0
    assert _found(run, SECRET) == 0


def _found(run: Callable[..., RecordingHost], text: str) -> int:
    result = run("memory", text[::-1]).ending.result
    assert result is not None
    own, parents = result["found"]
    return int(own + parents)


@pytest.mark.parametrize(
    "text",
    [
        "garbage!" * 10,
        "\xff" * 12,
        "\0\0\0\x02{}",
        "\0\0\0\x05{bad}",
        '\0\0\0\x20{"call": "__class__", "args": []}',
        '\0\0\0\x1e{"call": "upload", "args": []}',
        '\0\0\0\x1d{"call": "log", "args": [[]]}',
    ],
)
def test_garbage_on_the_pipe_is_deadly(run: Callable[..., RecordingHost], text: str) -> None:
    host = run("garbage", text)
    assert host.wait().code == -signal.SIGKILL
    assert "process broke the pipe's rules: " in host.wait().cause()
    assert host.endings == []


@pytest.mark.parametrize("do", ["deep result", "deep state"])
def test_what_is_as_deep_as_the_limit_passes(
    run: Callable[..., RecordingHost], logged: Callable[[], list[str]], do: str
) -> None:
    host = run(do, str(DEPTH_LIMIT))
    assert host.ending.kind == "returned"
    assert "finished with 3" in logged()


@pytest.mark.parametrize(
    ("do", "size", "error"),
    [
        ("deep result", DEPTH_LIMIT + 1, f"the result is nested more than {DEPTH_LIMIT} deep"),
        ("deep result", 20_000, f"the result is nested more than {DEPTH_LIMIT} deep"),
        ("deep state", DEPTH_LIMIT + 1, f"the saved state is nested more than {DEPTH_LIMIT} deep"),
        ("long number", 6000, "the result has a number of more than 4300 digits"),
        ("long number in state", 6000, "the saved state has a number of more than 4300 digits"),
    ],
)
def test_what_the_supervisor_cannot_read_is_refused_where_it_is_made(
    run: Callable[..., RecordingHost], do: str, size: int, error: str
) -> None:
    host = run(do, str(size))
    assert host.ending.error == error
    assert host.wait().code == 0


def test_a_state_as_deep_as_the_limit_is_there_at_the_next_attempt(
    isolation: ProcessIsolation, tmp_path: Path
) -> None:
    first = Task(isolation, tmp_path, "deep state", str(DEPTH_LIMIT)).wait()
    host = RecordingHost()
    again = replace(facts(tmp_path, {"do": "nothing"}), attempt=2, state=first.states[0])
    isolation.start(again, host, host.exited)
    host.wait()
    assert host.ending.kind == "returned"


def test_large_configs_and_results_pass(
    isolation: ProcessIsolation, run: Callable[..., RecordingHost]
) -> None:
    text = "é" * (5 * 1024 * 1024)
    isolation.check({"do": "length", "text": text})
    assert run("length", text).ending.result == {"length": len(text)}
    result = run("big result").ending.result
    assert result is not None
    assert len(result["text"]) == 4 * 1024 * 1024 - 10


@pytest.mark.parametrize("do", ["raise in validation", "exit in validation", "die in validation"])
def test_validation_that_goes_wrong_refuses_the_config(
    isolation: ProcessIsolation, do: str
) -> None:
    with pytest.raises(InvalidConfigError, match="config: "):
        isolation.check({"do": do})
    with pytest.raises(InvalidConfigError, match="config extra: "):
        isolation.check({"extra": 1})
    isolation.check({"do": "nothing"})


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_twenty_tasks_at_once_leave_nothing_behind(
    isolation: ProcessIsolation, tmp_path: Path
) -> None:
    Task(isolation, tmp_path / "warm", "nothing").wait()
    before = open_files()
    tasks = [Task(isolation, tmp_path / str(n), "random number") for n in range(20)]
    results = [task.wait().ending.result for task in tasks]
    numbers = {result["number"] for result in results if result}
    assert len(numbers) == len(tasks)
    until(lambda: open_files() <= before)


def test_the_host_answers_over_the_pipe(run: Callable[..., RecordingHost]) -> None:
    host = run("ask")
    assert host.ending.result == {"data": "234", "path": "/input/x", "stored": ["y", 7]}
    assert host.states == [{"seen": 1}]
    assert host.percents == [50]


def test_an_error_of_the_host_is_raised_where_it_was_asked(
    isolation: ProcessIsolation, tmp_path: Path
) -> None:
    host = RecordingHost()
    host.error = StorageError("gone", status=404, store_code="NoSuchKey")
    isolation.start(facts(tmp_path, {"do": "ask"}), host, host.exited)
    host.wait()
    assert host.ending.error == "StorageError: gone"


def test_a_private_kind_of_error_comes_as_the_public_one_it_is(
    isolation: ProcessIsolation, tmp_path: Path
) -> None:
    host = RecordingHost()
    host.error = UrlExpiredError("expired", status=403, store_code="AccessDenied")
    isolation.start(facts(tmp_path, {"do": "ask"}), host, host.exited)
    host.wait()
    assert host.ending.error == "StorageError: expired"


def test_an_ending_that_cannot_be_kept_ends_the_process(
    isolation: ProcessIsolation, tmp_path: Path, logged: Callable[[], list[str]]
) -> None:
    host = RecordingHost()
    host.error = JournalError("disk full")
    isolation.start(facts(tmp_path, {"do": "nothing"}), host, host.exited)
    assert host.wait().code == 1
    assert "finished with 1" in logged()
    assert any("JournalError: disk full" in text for text in logged())


def test_a_plugin_that_cannot_be_made_fails_its_task(tmp_path: Path) -> None:
    isolation = ProcessIsolation(ref_of(FailsToStart), secrets=frozenset())
    host = RecordingHost()
    isolation.start(facts(tmp_path), host, host.exited)
    host.wait()
    isolation.close()
    assert host.ending.error == "SystemExit: no"


UNGUARDED = """
from plugin_framework import DatahubPlugin
from plugin_framework.isolation.process import ProcessIsolation
from plugin_framework.plugin.loader import ref_of
class P(DatahubPlugin):
    def process(self, ctx): pass
ProcessIsolation(ref_of(P), secrets=frozenset())
"""


def loading(tmp_path: Path, source: str) -> ProcessIsolation:
    file = tmp_path / "some_script.py"
    file.write_text(source)
    ref = PluginRef("P", "", "__main__", "P", str(file))
    return ProcessIsolation(ref, secrets=frozenset())


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import os; os._exit(7)", "ended with code 7"),
        ("raise BaseException", "ended with code 1"),
        ("import sys; sys.exit('no')", "SystemExit: no"),
        ("import no_such_module", "ModuleNotFoundError"),
        ("def broken(:", "SyntaxError"),
        ("P = 3", "not a DatahubPlugin class"),
        (UNGUARDED, "__main__"),
    ],
)
def test_a_plugin_that_cannot_be_imported_says_why_each_time(
    tmp_path: Path, source: str, reason: str
) -> None:
    isolation = loading(tmp_path, source)
    calls: list[Callable[[], Any]] = [
        isolation.info,
        lambda: isolation.check({}),
        lambda: isolation.start(facts(tmp_path), RecordingHost(), lambda _: None),
    ]
    for call in calls:
        with pytest.raises(PluginLoadError, match=reason):
            call()
    isolation.close()


def test_a_host_call_that_hangs_does_not_hold_up_the_interpreter(tmp_path: Path) -> None:
    program = f"""
import threading
from pathlib import Path
from plugin_framework.isolation.process import ProcessIsolation
from plugin_framework.plugin.loader import find_plugin
from tests.isolation.recording_host import RecordingHost, facts
asked = threading.Event()
def hang(name):
    asked.set()
    threading.Event().wait()
host = RecordingHost()
host.download = hang
isolation = ProcessIsolation(find_plugin("tests.isolation.hostile:Hostile"), secrets=frozenset())
isolation.start(facts(Path({str(tmp_path)!r}), {{"do": "ask"}}), host, host.exited)
asked.wait()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=DEADLINE)


def test_a_hanging_import_does_not_hold_up_the_close(tmp_path: Path) -> None:
    isolation = loading(tmp_path, "import time; time.sleep(3600)")
    isolation.close()
    with pytest.raises(ProcessLookupError):
        os.kill(isolation._server._process.pid, 0)


def test_a_process_that_cannot_be_started_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(PluginCrashedError, match="no process can be started"):
        ProcessIsolation(ref_of(Hostile), secrets=frozenset())
    until(lambda: set(Path("/proc/self/fd").iterdir()) <= before)


def test_files_of_the_current_folder_are_not_taken_for_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "selectors.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    isolation = ProcessIsolation(ref_of(Hostile), secrets=frozenset())
    assert isolation.info()["isolation"] is None
    isolation.close()
