from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.calling import DEADLINE, PLUGINS, Family, end_of, start


def waiting(tmp_path: Path, family: Family, **env: str) -> subprocess.Popen[str]:
    """A command whose plugin has started."""
    process = starting(tmp_path, family, **env)
    assert process.stderr
    for line in process.stderr:
        if json.loads(line)["message"] == "started":
            return process
    raise AssertionError("it ended before it was signalled")


def starting(tmp_path: Path, family: Family, **env: str) -> subprocess.Popen[str]:
    (tmp_path / "input").touch()
    given = (f"{PLUGINS}:Waits", "--local", "input", "--out", "out")
    return start("run", *given, cwd=tmp_path, env={**family.env, **env})


def assert_all_gone(family: Family) -> None:
    deadline = time.monotonic() + DEADLINE
    while family.alive() and time.monotonic() < deadline:
        time.sleep(0.01)  # between two looks at /proc
    assert family.alive() == set()


@pytest.mark.parametrize(
    ("number", "policy", "code", "status"),
    [
        (signal.SIGINT, "cancel", 4, "cancelled"),
        (signal.SIGTERM, "fail", 1, "failed"),
        (signal.SIGINT, "leave", 130, "running"),
    ],
)
def test_a_signal_ends_the_task_as_configured(
    number: signal.Signals, policy: str, code: int, status: str, tmp_path: Path
) -> None:
    family = Family.new()
    with waiting(tmp_path, family, DATAHUB_ON_SHUTDOWN=policy) as process:
        process.send_signal(number)
        ended = end_of(process)
    assert ended.code == code
    assert ended.outcome["status_name"] == status
    assert list((tmp_path / "out").iterdir()) == []
    assert_all_gone(family)


def test_a_signal_before_the_task_has_started(tmp_path: Path) -> None:
    family, out = Family.new(), tmp_path / "out"
    with starting(tmp_path, family) as process:
        deadline = time.monotonic() + DEADLINE
        while not (out.exists() and list(out.iterdir())):
            assert time.monotonic() < deadline
            time.sleep(0.001)  # between two looks
        process.terminate()
        ended = end_of(process)
    assert ended.code == 143
    assert ended.problems == ["stopped by SIGTERM before the subtask was started"]
    assert list(out.iterdir()) == []
    assert_all_gone(family)


def test_a_killed_command_leaves_no_process(tmp_path: Path) -> None:
    family = Family.new()
    with waiting(tmp_path, family) as process:
        assert len(family.alive()) >= 4  # the command, the emulator, the forkserver, the task
        process.kill()
        end_of(process)
    assert_all_gone(family)


AMID_A_LIBRARY = """
import signal, sys
from plugin_framework.cli import app, run

def imports(_plugin):
    try:
        signal.raise_signal(signal.SIGTERM)
    except BaseException as stopped:
        {handled}

run.import_from_here = imports
sys.argv[1:] = {args!r}
app.main()
"""


@pytest.mark.parametrize("handled", ["raise ValueError('no schema') from stopped", "pass"])
def test_a_signal_that_a_library_takes_for_its_own_error(handled: str, tmp_path: Path) -> None:
    (tmp_path / "input").touch()
    args = ["run", f"{PLUGINS}:Waits", "--local", "input", "--out", "out"]
    code = AMID_A_LIBRARY.format(handled=handled, args=args)
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=Family.new().env,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert ended.returncode == 143
    assert ended.stdout == ""
    assert "stopped by SIGTERM before the subtask was started" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
