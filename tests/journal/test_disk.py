"""A disk that is full or read-only: an error before user code runs, or no false success."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from plugin_framework import DatahubPlugin
from plugin_framework.journal.journal import Journal
from tests.cli.calling import COMMAND, PROJECT, Ended, end_of, environment
from tests.journal.plugins import FillsTheDisk, FillsTheDiskElsewhere, MayNotWrite
from tests.strict_datahub import StrictDatahub

SUBTASK = "task_abc_001_ingest"
OWN_MOUNTS = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


def _may_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    mount = [*OWN_MOUNTS, "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(mount, capture_output=True, check=False).returncode == 0


mounts = pytest.mark.skipif(not _may_mount(), reason="mounts of its own are not to be had here")


def run(
    plugin: type[DatahubPlugin], hub: StrictDatahub, state: Path, mount: str | None = None
) -> Ended:
    """The command; with ``mount``, after this was done in a mount namespace of its own."""
    command = [COMMAND, "run", f"{plugin.__module__}:{plugin.__qualname__}"]
    if mount is not None:
        command = [*OWN_MOUNTS, "sh", "-ec", f'{mount}\nexec "$@"', "sh", *command]
    variables = {
        "DATAHUB_BASE_URL": hub.url,
        "DATAHUB_STATE_DIR": str(state),
        "DATAHUB_SUBTASK_ID": SUBTASK,
        "DATAHUB_LOG_LEVEL": "CRITICAL",
        "DATAHUB_GRACE_SECONDS": "5",
        "DATAHUB_DELIVERY_DEADLINE": "3",
    }
    with subprocess.Popen(
        [*command, "--task-id", SUBTASK],
        cwd=PROJECT,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        return end_of(process)


def keep(state: Path, copy: Path) -> str:
    """A trap that copies the journal out of the namespace before its mount goes."""
    return f"trap 'cp -r {state}/. {copy}/' EXIT; \"$@\"; exit $?"


@mounts
def test_a_disk_that_is_full_at_the_start(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    full = f"mount -t tmpfs -o size=64k none {state}; (cat /dev/zero > {state}/filler) 2>&- || true"
    with StrictDatahub(SUBTASK) as hub:
        ended = run(FillsTheDisk, hub, state, full)
        assert ended.code == 2
        assert len(ended.problems[-1:]) == 1
        assert "journal.sqlite3 cannot be used" in ended.problems[-1]
        assert hub.calls == []


@mounts
def test_a_disk_that_is_read_only(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    Journal(state / "journal.sqlite3").close()
    with StrictDatahub(SUBTASK) as hub:
        mount = f"mount --bind {state} {state}; mount -o remount,bind,ro {state}"
        ended = run(FillsTheDisk, hub, state, mount)
        assert ended.code == 2
        assert len(ended.problems) == 1
        assert "(Read-only file system)" in ended.problems[0]
        assert hub.calls == []


@mounts
def test_a_disk_that_fills_while_the_task_runs(tmp_path: Path) -> None:
    state, copy = tmp_path / "state", tmp_path / "copy"
    state.mkdir()
    copy.mkdir()
    mount = f"mount -t tmpfs -o size=1m none {state}; {keep(state, copy)}"
    with StrictDatahub(SUBTASK) as hub:
        ended = run(FillsTheDisk, hub, state, mount)
        # The task's own files filled it; they go, and the result is kept before it is sent.
        assert ended.code == 0
        assert hub.statuses == [1, 3]
        assert hub.violations == []
    journal = Journal(copy / "journal.sqlite3")
    ending = journal.ending(SUBTASK)
    journal.close()
    assert ending is not None
    assert hub.result == (ending.outcome or {})["result"]


@mounts
def test_a_disk_that_somebody_else_fills_while_the_task_runs(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    mount = f"mount -t tmpfs -o size=1m none {state}"
    with StrictDatahub(SUBTASK) as hub:
        ended = run(FillsTheDiskElsewhere, hub, state, mount)
        # No room came: rather than to nobody, the result went to Datahub without being kept.
        assert ended.code == 0
        assert ended.outcome["result"] == hub.result
        assert hub.statuses == [1, 3]
        assert hub.violations == []


def test_a_process_that_may_write_no_more_while_the_task_runs(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        ended = run(MayNotWrite, hub, tmp_path)
        assert ended.code == 0
        assert hub.statuses == [1, 3]
        assert hub.violations == []
    journal = Journal(tmp_path / "journal.sqlite3")
    assert journal.ending(SUBTASK) is None
    journal.close()
