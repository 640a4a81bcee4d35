"""A result that the journal has no room for waits, and is not lost while anything can be done."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from plugin_framework.journal.journal import Journal
from tests.journal.test_disk import OWN_MOUNTS, keep, mounts
from tests.lifecycle import plugins
from tests.lifecycle.running import SUBTASK, finish, run, start
from tests.strict_datahub import StrictDatahub

REFUSED, TAKEN = "cannot be journalled", "is journalled now"


@contextmanager
def full(hub: StrictDatahub, folder: Path, **settings: Any) -> Iterator[subprocess.Popen[str]]:
    """A run whose disk, a small one of its own, is full when its plugin has returned."""
    state = folder / "state"
    state.mkdir()
    then = settings.pop("then", 'exec "$@"')
    config = json.dumps({"ending": settings.pop("ending", "return")})
    prefix = [*OWN_MOUNTS, "sh", "-ec", f"mount -t tmpfs -o size=1m none {state}\n{then}", "sh"]
    command = start(plugins.Fills, hub, state, "--config", config, prefix=prefix, **settings)
    try:
        yield command
    finally:
        command.kill()
        command.communicate()


def await_line(command: subprocess.Popen[str], text: str) -> None:
    assert command.stderr
    while text not in (line := command.stderr.readline()):
        assert line, "the run has ended"


def make_room(command: subprocess.Popen[str], folder: Path) -> None:
    Path(f"/proc/{command.pid}/root{folder}/state/filler").unlink()


@mounts
@pytest.mark.parametrize("ending", ["return", "upload"])
def test_a_result_waits_for_room(tmp_path: Path, ending: str) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    then = keep(tmp_path / "state", copy)
    with (
        StrictDatahub(SUBTASK) as hub,
        full(hub, tmp_path, then=then, ending=ending, delivery_deadline=600) as command,
    ):
        await_line(command, REFUSED)
        beats = len(hub.heartbeats)
        hub.wait_for(lambda: len(hub.heartbeats) >= beats + 3)
        assert hub.statuses == [1]
        make_room(command, tmp_path)
        code, outcome, said = finish(command)
        assert (code, outcome["status"], outcome["delivered"]) == (0, 3, True), said
        assert said.count(TAKEN) == 1
        assert REFUSED not in said
        assert outcome["result"] == hub.result
        assert len(hub.outputs) == len(outcome["outputs"]) == (ending == "upload")
        assert hub.statuses == [1, 3]
        assert hub.violations == []
    with closing(Journal(copy / "journal.sqlite3")) as journal:
        kept = journal.ending(SUBTASK)
    assert kept is not None
    assert (kept.fate, (kept.outcome or {})["result"]) == ("delivered", outcome["result"])


@mounts
@pytest.mark.parametrize("policy", ["fail", "cancel", "pause", "leave"])
def test_a_signal_has_the_result_sent_without_more_ado(tmp_path: Path, policy: str) -> None:
    """The work is over: there is nothing left that a policy could fail, cancel, pause or leave."""
    settings = {"on_shutdown": policy, "grace_seconds": 20, "delivery_deadline": 600}
    with StrictDatahub(SUBTASK) as hub, full(hub, tmp_path, **settings) as command:
        await_line(command, REFUSED)
        command.send_signal(signal.SIGTERM)
        before = time.monotonic()
        code, outcome, said = finish(command)
        assert time.monotonic() - before < 20
        assert (code, outcome["status"], outcome["delivered"]) == (0, 3, True), said
        assert "without being kept first" in said
        assert outcome["result"] == hub.result
        assert hub.statuses == [1, 3]
        assert hub.violations == []


@mounts
def test_a_cancel_is_obeyed_while_the_result_waits(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub, full(hub, tmp_path, delivery_deadline=600) as command:
        await_line(command, REFUSED)
        hub.set_status(4)
        code, outcome, _ = finish(command)
        assert (code, outcome["status"], outcome["result"]) == (4, 4, None)
        assert hub.statuses == [1, 4]
        assert hub.result is None
        assert hub.violations == []


@mounts
def test_a_failure_does_not_wait_for_room(tmp_path: Path) -> None:
    settings = {"ending": "raise", "delivery_deadline": 600}
    with StrictDatahub(SUBTASK) as hub, full(hub, tmp_path, **settings) as command:
        code, outcome, said = finish(command)
        assert (code, outcome["error"]) == (1, "RuntimeError: it failed")
        assert said.count(REFUSED) == 1
        assert hub.statuses == [1, 5]
        assert hub.violations == []


@mounts
@pytest.mark.parametrize("hurry", [False, True])
def test_what_can_neither_be_kept_nor_delivered_is_said_to_be_lost(
    tmp_path: Path, *, hurry: bool
) -> None:
    settings = {"delivery_deadline": 600 if hurry else 0.5, "grace_seconds": 600 if hurry else 5}
    with StrictDatahub(SUBTASK) as hub, full(hub, tmp_path, **settings) as command:
        hub.wait_for(lambda: hub.heartbeats)
        hub.fail_next("/api/task/result", 1000, "503")
        await_line(command, REFUSED)
        if hurry:
            command.send_signal(signal.SIGTERM)
            await_line(command, "without being kept first")
            command.send_signal(signal.SIGINT)
        code, outcome, said = finish(command)
        assert code == 1
        assert (outcome["status"], outcome["delivered"]) == (5, False)
        assert "neither kept nor delivered" in outcome["error"]
        # It is nowhere else.
        assert outcome["result"] == {"text": "x" * 20_000}
        assert said.count("LOST") == 1
        assert hub.statuses == [1]
        assert hub.violations == []


@mounts
@pytest.mark.parametrize("room", [False, True])
def test_a_pause_is_not_said_to_be_kept_where_it_is_not(tmp_path: Path, *, room: bool) -> None:
    settings = {"ending": "wait", "on_shutdown": "pause", "grace_seconds": 6 if room else 0.5}
    with StrictDatahub(SUBTASK) as hub, full(hub, tmp_path, **settings) as command:
        await_line(command, "misses an event")
        hub.stop_listening()
        command.terminate()
        if room:
            await_line(command, "status 2 is not kept")
            make_room(command, tmp_path)
        code, outcome, said = finish(command)
        assert (outcome["status"], outcome["delivered"]) == (2, False), said
        if room:
            assert code == 75
        else:
            assert code == 128 + signal.SIGTERM
            assert "neither kept nor delivered" in outcome["error"]
        assert said.count("LOST") == (not room)
        assert hub.violations == []


@mounts
def test_room_that_comes_while_the_result_is_being_sent_is_used(tmp_path: Path) -> None:
    settings = {"delivery_deadline": 2, "grace_seconds": 5}
    with StrictDatahub(SUBTASK) as hub, full(hub, tmp_path, **settings) as command:
        hub.wait_for(lambda: hub.heartbeats)
        hub.fail_next("/api/task/result", 1000, "503")
        await_line(command, "without being kept first")
        make_room(command, tmp_path)
        code, outcome, said = finish(command)
        assert (code, outcome["status"], outcome["delivered"]) == (75, 3, False), said
        assert said.count(TAKEN) == 1
        assert hub.statuses == [1]


def test_state_goes_with_the_files_that_it_speaks_of(tmp_path: Path) -> None:
    """A run that made room for its outcome, and was killed before it found any, left no files."""
    with StrictDatahub(SUBTASK) as hub:
        command = start(plugins.Steps, hub, tmp_path)
        hub.wait_for(lambda: hub.heartbeats and (tmp_path / "started").exists())
        command.kill()
        command.communicate()
        (folder,) = [path for path in (tmp_path / "work").iterdir() if path.is_dir()]
        shutil.rmtree(folder)
        (tmp_path / "go").touch()
        outcome = run(plugins.Steps, hub, tmp_path, isolation="thread")
        assert outcome.result == {"before": {}, "files": ["attempt-2"], "attempt": 2}
        assert hub.violations == []
