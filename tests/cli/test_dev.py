from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.cli.calling import COMMAND, DEADLINE, Family, environment
from tests.cli.running import PAGE, Running, until

PLUGIN = '''
from plugin_framework import DatahubPlugin, PluginConfig, PluginError, TaskContext


class Steps(DatahubPlugin):
    """Works until a file says that it may end."""

    class Config(PluginConfig):
        until: str
        fails: bool = False

    def process(self, ctx: TaskContext[Config]):
        import threading, pathlib
        print(f"begun by {CODE} at attempt {ctx.attempt}")
        pause = threading.Event()
        while not pathlib.Path(ctx.config.until).exists():
            ctx.checkpoint()
            pause.wait(0.02)
        if ctx.config.fails:
            raise PluginError("there is nothing to count")
        return {"code": CODE, "attempt": ctx.attempt}


CODE = "old code"
'''


def write(folder: Path, text: str = PLUGIN) -> None:
    (folder / "steps.py").write_text(text, encoding="utf-8")


def dev(folder: Path, *options: str | Path, **env: str) -> Running:
    return Running("dev", "steps:Steps", "--state", folder / "state", *options, cwd=folder, **env)


@contextmanager
def serving(folder: Path, **env: str) -> Iterator[Running]:
    """``dev``, once the page knows the plugin."""
    with dev(folder, **env) as running:
        running.said("on the page: Steps")
        yield running


def gone(running: Running) -> None:
    until(lambda: not running.family.alive(), "that all processes are gone")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path)
    return tmp_path


def test_a_task_that_runs_goes_on_with_new_code_and_one_that_waits_is_kept(folder: Path) -> None:
    with serving(folder, DATAHUB_MAX_CONCURRENCY="1") as running:
        assert running.process.stdout
        config = {"until": str(folder / "go")}
        first = running.create("Steps", **config)
        running.said("begun by old code at attempt 1")
        second = running.create("Steps", **config)
        running.task_with(second, dispatch="accepted")
        write(folder, PLUGIN.replace("old code", "new code"))
        running.said("steps.py changed: the service starts anew")
        running.said("begun by new code at attempt 2")
        (folder / "go").touch()
        done = [running.task_with(one, status_name="completed") for one in (first, second)]
        assert [task["result"] for task in done] == [
            {"code": "new code", "attempt": 2},
            {"code": "new code", "attempt": 1},
        ]
        lines = running.call("GET", f"tasks/{first}/logs")
        said = [line["message"] for line in lines]
        assert "begun by old code at attempt 1" in said
        assert "begun by new code at attempt 2" in said
        assert said[-1] == f"subtask {first}: completed"
        assert {line["logger"] for line in lines} >= {"datahub.plugin.Steps", "datahub.runner"}
        failed = running.create("Steps", **config, fails=True)
        running.task_with(failed, status_name="failed", reason="there is nothing to count")
        assert running.end() == 0
    gone(running)


def test_what_is_broken_is_tried_again_when_it_changes(folder: Path) -> None:
    write(folder, "import nothing_of_that_name")
    with dev(folder) as running:
        assert running.url
        running.said("No module named 'nothing_of_that_name'")
        running.said("it is started again when a file changes")
        write(folder)
        running.said("on the page: Steps")
        subtask_id = running.create("Steps", until=str(folder / "go"))
        running.said("begun by old code")
        write(folder, f"{PLUGIN}\nthis is no Python\n")
        said = running.said("SyntaxError: invalid syntax")
        assert f"{folder / 'steps.py'}, line" in said["message"]
        running.said("it is started again when a file changes", times=2)
        assert running.task(subtask_id)["status_name"] == "running"
        write(folder, PLUGIN.replace("old code", "mended code"))
        running.said("begun by mended code at attempt 2")
        (folder / "go").touch()
        done = running.task_with(subtask_id, status_name="completed")
        assert done["result"] == {"code": "mended code", "attempt": 2}
        assert running.end(signal.SIGTERM) == 0


def test_a_service_that_ends_by_itself_is_started_again_and_kill_9_leaves_nothing(
    folder: Path,
) -> None:
    with serving(folder) as running:
        running.create("Steps", until=str(folder / "go"))
        running.said("begun by old code at attempt 1")
        os.kill(_child_of(running, "plugin_framework.cli.dev"), signal.SIGKILL)
        running.said("the service was killed by SIGKILL: it is started again in 1 s")
        running.said("begun by old code at attempt 2")
        # The command, the Datahub, the service, its forkserver, the task.
        assert len(running.family.alive()) >= 5
        running.process.kill()
        gone(running)


def test_all_goes_on_at_the_next_start_with_the_same_address(
    folder: Path,
) -> None:
    config = {"until": str(folder / "go")}
    with serving(folder, DATAHUB_MAX_CONCURRENCY="1") as running:
        url = running.url
        with dev(folder) as second:
            assert f"--state {folder / 'state'}: another `dev` uses it" in second.problem()
        tasks = [running.create("Steps", **config) for _ in range(2)]
        running.said("begun by old code at attempt 1")
        running.task_with(tasks[1], dispatch="accepted")
        assert running.end() == 0
        gone(running)
    (folder / "go").touch()
    with serving(folder) as running:
        assert running.url == url
        results = [running.task_with(one, status_name="completed")["result"] for one in tasks]
    assert [result["attempt"] for result in results] == [2, 1]


def test_a_task_that_comes_to_no_checkpoint_is_held_up_by_nobody(folder: Path) -> None:
    """It has a few seconds, and not the whole grace period; nor has the second signal any."""
    stuck = PLUGIN.replace("ctx.checkpoint()", "pause.wait(300)")
    write(folder, stuck)
    with serving(folder) as running:
        subtask_id = running.create("Steps", until=str(folder / "go"))
        running.said("begun by old code at attempt 1")
        write(folder, stuck.replace("old code", "new code"))
        running.said("begun by new code at attempt 2")
        assert running.task(subtask_id)["status_name"] == "running"
        running.process.send_signal(signal.SIGINT)
        running.said("goes on at the next start")
        assert running.end() == 0
    gone(running)


def test_it_ends_with_its_datahub(folder: Path) -> None:
    with serving(folder) as running:
        os.kill(_child_of(running, "plugin_framework.emulator"), signal.SIGKILL)
        running.said("the local Datahub has ended by itself")
        assert running.process.wait(DEADLINE) == 1
        gone(running)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("no-such-plugin",), "no plugin is called 'no-such-plugin'"),
        (("steps.py:Steps",), "names a file; name its module instead, as steps:Steps"),
        (("steps:Steps", "steps:Steps"), "steps:Steps is given twice"),
        (("steps:Steps", "--chaos", "no-such.toml"), "expected a readable TOML file"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: tuple[str, ...], problem: str, folder: Path) -> None:
    with Running("dev", *arguments, "--state", "state", cwd=folder) as running:
        assert problem in running.problem()


def test_a_port_that_is_taken_is_one_line(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with dev(folder, "--port", port) as running:
            assert f"--port {port}: Address already in use" in running.problem()


def test_ctrl_c_on_a_terminal_ends_all(folder: Path) -> None:
    """The terminal signals the whole foreground group, and the address comes first there, too."""
    ours, theirs = pty.openpty()
    family = Family.new()
    with subprocess.Popen(
        # It becomes the command, once the terminal controls it.
        ["setsid", "--ctty", COMMAND, "dev", "steps:Steps", "--state", "state"],
        cwd=folder,
        env=environment(**family.env),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = _Shown(ours)
        shown.wait_for("dev      | on the page: Steps")
        assert shown.text.startswith(PAGE)
        url = shown.text.splitlines()[0].removeprefix(PAGE)
        assert httpx.get(f"{url}local/plugins", trust_env=False).json()
        os.write(ours, b"\x03")
        shown.wait_for("dev      | SIGINT")
        assert process.wait(DEADLINE) == 0
    os.close(ours)
    until(lambda: not family.alive(), "that all processes are gone")


class _Shown:
    """What a terminal shows."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self.text = ""

    def wait_for(self, text: str) -> None:
        while text not in self.text:
            self.text += os.read(self._terminal, 65536).decode(errors="replace")


def _child_of(running: Running, module: str) -> int:
    found = subprocess.run(
        ["pgrep", "-P", str(running.process.pid), "-f", module],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    return int(found.stdout)
