from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from plugin_framework import (
    DatahubPlugin,
    PluginConfig,
    TaskContext,
    TaskResult,
    TaskStatus,
    hookimpl,
    run_local,
)
from plugin_framework.errors import ConfigurationError, InvalidConfigError, PluginLoadError
from plugin_framework.lifecycle.runner import Run
from plugin_framework.testing.local import _move


class Lines(DatahubPlugin):
    """Counts lines."""

    class Config(PluginConfig):
        skip: int = 0

    def process(self, ctx: TaskContext[Config]) -> TaskResult:
        count = len(ctx.download().read_text().splitlines()) - ctx.config.skip
        (ctx.output_dir / "count").write_text(str(count))
        return TaskResult(total_counts=count, pid=os.getpid())


class Waits(DatahubPlugin):
    isolation = "thread"

    def process(self, ctx: TaskContext[Any]) -> None:
        never = threading.Event()
        while not never.wait(0.01):
            ctx.checkpoint()


class CancelsOnceRunning:
    """Cancels the run it is handed, when it is told that the task runs."""

    def __init__(self) -> None:
        self.run: Run | None = None

    def take(self, run: Run) -> None:
        self.run = run

    @hookimpl
    def datahub_status_changed(self, new: TaskStatus) -> None:
        if new is TaskStatus.RUNNING and self.run:
            self.run.cancel()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "input.txt"
    path.write_text("one\ntwo\nthree\n")
    return path


def test_a_class_and_its_name_twice_in_one_process(source: Path, tmp_path: Path) -> None:
    threads = threading.active_count()
    for plugin in (Lines, f"{__name__}:Lines"):
        out = tmp_path / "out"
        outcome = run_local(
            plugin,
            input=source,
            out=str(out),
            config={"skip": 1},
            settings={"isolation": "process", "transfer": {"digest": "none"}},
        )
        assert outcome.status is TaskStatus.COMPLETED
        assert outcome.result is not None
        assert outcome.result["total_counts"] == 2
        assert outcome.result["pid"] != os.getpid()
        assert [file.sha256 for file in outcome.outputs] == [None]
        assert [path.name for path in out.iterdir()] == ["count"]
        assert (out / "count").read_text() == "2"
    assert threading.active_count() <= threads + 1  # a daemon may still be on its way out


def test_a_run_can_be_cancelled_and_needs_no_input(tmp_path: Path) -> None:
    watcher = CancelsOnceRunning()
    outcome = run_local(
        Waits, out=tmp_path, observers={"watcher": watcher}, on_run=watcher.take, subtask_id="mine"
    )
    assert (outcome.status, outcome.subtask_id) == (TaskStatus.CANCELLED, "mine")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_run(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"the input .* cannot be read"):
        run_local(Waits, input=tmp_path / "missing", out=tmp_path)
    with pytest.raises(ConfigurationError, match=r"the output folder .* cannot be written"):
        run_local(Waits, out=source)
    with pytest.raises(ConfigurationError, match="DATAHUB_ISOLATION"):
        run_local(Waits, out=tmp_path, settings={"isolation": "jail"})
    with pytest.raises(InvalidConfigError, match="config other: "):
        run_local(Waits, input=source, out=tmp_path, config={"other": 1})
    with pytest.raises(PluginLoadError, match="no_such_module"):
        run_local("no_such_module:Plugin", out=tmp_path, settings={"isolation": "thread"})
    assert list(tmp_path.iterdir()) == [source]


SCRIPT = '''
import json, sys
from pathlib import Path
from plugin_framework import DatahubPlugin, run_local

class Upper(DatahubPlugin):
    """Upper case."""
    def process(self, ctx):
        (ctx.output_dir / "upper").write_text(ctx.download().read_text().upper())

if __name__ == "__main__":
    outcome = run_local(Upper, input=sys.argv[1], out=sys.argv[2])
    print(json.dumps(outcome.as_json()))
'''


def test_a_plugin_in_a_script_with_warnings_as_errors(source: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    out = tmp_path / "out"
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", script, source, out],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr == ""
    assert json.loads(ended.stdout)["status_name"] == "completed"
    assert (out / "upper").read_text() == "ONE\nTWO\nTHREE\n"


needs_another_file_system = pytest.mark.skipif(
    not os.path.ismount("/dev/shm"), reason="needs a second file system"
)


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder on another file system."""
    with TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@needs_another_file_system
def test_an_output_goes_to_another_file_system_whole(tmp_path: Path, elsewhere: Path) -> None:
    stored, target = tmp_path / "stored", elsewhere / "output"
    stored.write_text("new")
    target.write_text("old")
    with target.open() as older:
        _move(stored, target)
        assert (older.read(), target.read_text()) == ("old", "new")


@needs_another_file_system
def test_an_output_that_cannot_go_there_leaves_nothing(tmp_path: Path, elsewhere: Path) -> None:
    stored, target = tmp_path / "stored", elsewhere / "output"
    stored.write_text("new")
    target.mkdir()
    with pytest.raises(IsADirectoryError):
        _move(stored, target)
    assert list(elsewhere.iterdir()) == [target]
