"""What plugins do that nobody expects."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from plugin_framework import DatahubPlugin, TaskContext, run_task
from tests.lifecycle import plugins
from tests.lifecycle.running import SUBTASK, finish, run, settings_for, start
from tests.strict_datahub import StrictDatahub

COMPLETE = "/api/task/upload/complete"


@pytest.mark.parametrize(("how", "code"), [("return", 0), ("raise", 1), ("exit", 7)])
def test_a_forked_child_that_comes_back_is_not_the_task(
    tmp_path: Path, how: str, code: int
) -> None:
    with StrictDatahub(SUBTASK) as hub:
        outcome = run(plugins.Forks, hub, tmp_path, {"how": how})
        assert outcome.result == {"parent": code}
        assert hub.statuses == [1, 3]
        assert hub.violations == []


def test_long_lines_hold_no_heartbeat_up(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        code, _, _ = finish(start(plugins.Chatters, hub, tmp_path, heartbeat_seconds=0.2))
        assert code == 0
        gaps = [after[0] - before[0] for before, after in pairwise(hub.heartbeats)]
        assert max(gaps, default=0) < 2
        assert hub.violations == []


class LeavesNoFile(DatahubPlugin):
    """Leaves something in its output folder that cannot be stored."""

    isolation = "thread"

    def process(self, ctx: TaskContext[Any]) -> None:
        place = ctx.output_dir / "odd"
        kind = ctx.subtask_id.partition("-")[2]
        if kind == "pipe":
            os.mkfifo(place)
        else:
            place.symlink_to(ctx.work_dir if kind == "linked folder" else "/nonexistent")


@pytest.mark.parametrize("kind", ["pipe", "dangling link", "linked folder"])
def test_what_cannot_be_stored_is_not_left_out_in_silence(tmp_path: Path, kind: str) -> None:
    with StrictDatahub(f"{SUBTASK}-{kind}") as hub:
        outcome = run_task(
            LeavesNoFile, subtask_id=f"{SUBTASK}-{kind}", settings=settings_for(hub, tmp_path)
        )
        assert outcome.status == 5
        assert "odd in the output folder is neither a file nor a folder" in str(outcome.error)
        assert hub.statuses == [1, 5]


def test_a_completion_in_doubt_that_is_refused_is_made_anew(tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(b"content")
    with StrictDatahub(SUBTASK, input_file=source) as hub:
        hub.fail_next(COMPLETE, 1, "reset_before")
        hub.fail_next(COMPLETE, 1, "code1")
        outcome = run(plugins.Mirror, hub, tmp_path)
        assert outcome.exit_code == 0, outcome
        assert hub.outputs == {"mirror.bin": b"content"}
        assert hub.violations == []
