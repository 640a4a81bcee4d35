"""Outputs that are open when something else happens: a death, a cancel, another upload."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults import writers
from tests.lifecycle.running import SUBTASK, Background, eventually, finish, run, start
from tests.strict_datahub import StrictDatahub

INIT, COMPLETE = "/api/task/upload/init", "/api/task/upload/complete"
PARTS: Any = {"transfer": {"chunk_size": writers.PART}}


def completed(hub: StrictDatahub) -> bool:
    return any(call.path == COMPLETE for call in hub.calls)


def test_a_plugin_that_dies_in_a_pause_ends_its_task(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        with Background(writers.Held, hub, tmp_path, **PARTS) as task:
            eventually((tmp_path / "pid").exists)
            hub.set_status(2)
            hub.wait_for(lambda: hub.statuses == [1, 2])
            asked = len(hub.calls)
            hub.wait_for(lambda: len(hub.calls) >= asked + 15)  # by then the upload is held, too
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
            assert "killed by SIGKILL" in (task.ended.error or "")
        assert hub.statuses == [1, 2, 5]
        assert not completed(hub)
        assert hub.violations == []


@pytest.mark.parametrize("policy", ["pause", "leave"])
def test_a_signal_that_pauses_ends_it_too(tmp_path: Path, policy: str) -> None:
    with StrictDatahub(SUBTASK) as hub:
        command = start(writers.Held, hub, tmp_path, on_shutdown=policy)
        eventually((tmp_path / "pid").exists)
        command.send_signal(signal.SIGTERM)
        finish(command)
        assert hub.statuses == ([1, 2] if policy == "pause" else [1])
        assert hub.violations == []


def test_a_cancel_does_not_wait_for_a_call_that_hangs(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next(INIT, 1000, "hang")
        with Background(writers.Closes, hub, tmp_path, grace_seconds=0.5) as task:
            hub.wait_for(lambda: any(call.path == INIT for call in hub.calls))
            before = time.monotonic()
            hub.set_status(4)
            assert task.ended.exit_code == 4
            assert time.monotonic() - before < 20  # the call would take 60 s
        assert hub.statuses == [1, 4]


def test_nor_does_leaving_by_an_exception(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next(INIT, 1000, "hang")
        with Configured({"way": "raise"}, hub, tmp_path) as task:
            hub.wait_for(lambda: any(call.path == INIT for call in hub.calls))
            (tmp_path / "go").touch()
            eventually((tmp_path / "left").exists)
            (tmp_path / "end").touch()
            outcome = task.ended
        assert (outcome.exit_code, outcome.outputs) == (0, ())
        assert hub.statuses == [1, 3]


class Configured(Background):
    """A run of ``Closes`` with a config."""

    def __init__(self, config: dict[str, Any], hub: StrictDatahub, path: Path) -> None:
        super().__init__(writers.Closes, hub, path)
        self.run = self._engine.run(SUBTASK, config=config)


def test_the_name_of_an_open_output_is_taken(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        outcome = run(writers.SameName, hub, tmp_path)
        assert outcome.result == {"error": "the output same is open already"}
        assert hub.outputs == {"same": b"same"}
        assert hub.violations == []


def test_a_forgotten_wrapper_stores_nothing(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        outcome = run(writers.Forgets, hub, tmp_path)
        assert "opened, and never closed: half.csv" in (outcome.error or "")
        assert not hub.outputs


def test_bytes_written_over_what_was_sent_are_not_lost_without_a_word(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        outcome = run(writers.InPlace, hub, tmp_path, **PARTS)
        assert "the output table was to have 6291456 bytes, and has 6291462" in str(outcome.error)
        assert not completed(hub)
