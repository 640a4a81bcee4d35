"""A command ends when its task does, and takes along what it started."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plugin_framework import PluginError, TaskCancelled
from plugin_framework.plugin.command import run_command
from plugin_framework.plugin.context import Gate


@pytest.fixture
def gate() -> Gate:
    return Gate()


def run(gate: Gate, *argv: str, check: bool = True, **options: Any) -> Any:
    return run_command(list(argv), gate, check=check, options=options)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def lives(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_its_output_is_returned(gate: Gate) -> None:
    done = run(gate, "sh", "-c", "cat; echo err >&2", input="in", capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "in", "err\n")


def test_a_big_output_does_not_block(gate: Gate) -> None:
    given = os.urandom(3_000_000)
    assert run(gate, "cat", input=given, stdout=subprocess.PIPE).stdout == given


def test_what_it_prints_stays_off_our_stdout(gate: Gate, capfd: pytest.CaptureFixture[str]) -> None:
    run(gate, "echo", "printed")
    assert capfd.readouterr() == ("", "printed\n")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["sh", "-c", "echo first >&2; echo last >&2; exit 3"], "sh exited with code 3: last"),
        (["sh", "-c", "kill -TERM $$"], "sh was killed by SIGTERM"),
        (["python3", "-c", "import os; os.kill(os.getpid(), 40)"], "killed by signal 40"),
        (["no-such-command"], "cannot run no-such-command: No such file"),
    ],
)
def test_a_failure_is_said_in_one_line(gate: Gate, argv: list[str], message: str) -> None:
    with pytest.raises(PluginError, match=message) as caught:
        run(gate, *argv, stderr=subprocess.PIPE)
    assert "\n" not in str(caught.value)


def test_a_code_may_be_looked_at(gate: Gate) -> None:
    assert run(gate, "sh", "-c", "exit 3", check=False).returncode == 3


def test_a_cancel_ends_it_and_its_children(gate: Gate, tmp_path: Path) -> None:
    script = f"sleep 3600 & echo $$ $! > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pids; wait"
    pids = tmp_path / "pids"

    def cancel() -> None:
        until(pids.exists)
        gate.cancel()

    helper = threading.Thread(target=cancel)
    helper.start()
    with pytest.raises(TaskCancelled):
        run(gate, "sh", "-c", script)
    helper.join()
    for pid in map(int, pids.read_text().split()):
        until(lambda pid=pid: not lives(pid))  # type: ignore[misc]  # a bound default


def test_a_cancel_that_came_before_ends_it_at_once(gate: Gate) -> None:
    gate.cancel()
    with pytest.raises(TaskCancelled):
        run(gate, "sleep", "3600")


def test_what_ignores_a_cancel_is_killed(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugin_framework.plugin.command.PATIENCE_SECONDS", 0.1)
    code = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    reader, writer = os.pipe()

    def cancel() -> None:
        os.read(reader, 5)
        gate.cancel()

    helper = threading.Thread(target=cancel)
    helper.start()
    with pytest.raises(TaskCancelled):
        run(gate, "sh", "-c", code, stdout=writer)
    helper.join()
    os.close(reader)
    os.close(writer)


def test_what_it_leaves_in_the_background_is_ended(gate: Gate) -> None:
    done = run(gate, "sh", "-c", "sleep 3600 >/dev/null & echo $!", stdout=subprocess.PIPE)
    until(lambda: not lives(int(done.stdout)))


def test_a_command_that_is_over_is_forgotten(gate: Gate) -> None:
    run(gate, "true")
    assert gate._on_cancel == []
