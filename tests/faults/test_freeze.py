"""A pause stops a plugin that asks for it where it is, with all that it started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from plugin_framework import DatahubPlugin, TaskContext
from tests.lifecycle.running import SUBTASK, Background, eventually, gone
from tests.strict_datahub import StrictDatahub

COUNT = """
import os, pathlib, sys, time
path = pathlib.Path(sys.argv[1])
while not path.with_name("go").exists():
    path.with_suffix(".new").write_text(str(os.getpid()))
    path.with_suffix(".new").rename(path)
    time.sleep(0.01)
"""


class Counts(DatahubPlugin):
    """Comes to no checkpoint, and has a command and a daemon work for it."""

    pause_mode = "freeze"

    def process(self, ctx: TaskContext[Any]) -> None:
        """Until the file ``go`` is there."""
        folder = ctx.work_dir.parent.parent
        daemon = [sys.executable, "-c", COUNT, str(folder / "daemon")]
        subprocess.Popen(daemon, start_new_session=True)
        (folder / "plugin").write_text(str(os.getpid()))
        ctx.run([sys.executable, "-c", COUNT, str(folder / "command")])


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def all_of_it(folder: Path) -> list[int]:
    names = ("plugin", "command", "daemon")
    eventually(lambda: all((folder / name).exists() for name in names))
    return [int((folder / name).read_text()) for name in names]


def test_a_pause_stops_all_of_a_plugin_that_comes_to_no_checkpoint(tmp_path: Path) -> None:
    with (
        StrictDatahub(SUBTASK) as hub,
        Background(Counts, hub, tmp_path) as task,
    ):
        pids = all_of_it(tmp_path)
        hub.set_status(2)
        hub.wait_for(lambda: hub.statuses == [1, 2])
        assert [state(pid) for pid in pids] == ["T"] * 3
        beats = len(hub.heartbeats)
        hub.wait_for(lambda: len(hub.heartbeats) >= beats + 3)
        hub.set_status(1)
        hub.wait_for(lambda: hub.statuses == [1, 2, 1])
        eventually(lambda: "T" not in [state(pid) for pid in pids])
        (tmp_path / "go").touch()
        assert task.ended.exit_code == 0
        assert hub.violations == []


def test_a_cancel_ends_a_frozen_task_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        StrictDatahub(SUBTASK) as hub,
        Background(Counts, hub, tmp_path, grace_seconds=0.5) as task,
    ):
        pids = all_of_it(tmp_path)
        hub.set_status(2)
        hub.wait_for(lambda: hub.statuses == [1, 2])
        hub.set_status(4)
        assert task.ended.exit_code == 4
        assert hub.statuses == [1, 2, 4]
        assert hub.violations == []
    for pid in pids:
        gone(pid)
