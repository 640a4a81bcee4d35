"""What happens while the supervisor stores the outputs of work that has returned."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle import plugins
from tests.lifecycle.running import SUBTASK, Background, eventually, finish, run, start
from tests.strict_datahub import StrictDatahub

INIT, RESULT = "/api/task/upload/init", "/api/task/result"


def initiated(hub: StrictDatahub) -> None:
    hub.wait_for(lambda: any(call.path == INIT for call in hub.calls))


def test_a_process_that_dies_meanwhile_takes_nothing_back(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next(INIT, 3, "503")
        with Background(plugins.OneOutput, hub, tmp_path) as task:
            initiated(hub)
            os.kill(int((tmp_path / "started").read_text()), signal.SIGKILL)
            assert task.ended.exit_code == 0
        assert hub.statuses == [1, 3]
        assert hub.outputs == {"one": b"one"}
        assert hub.violations == []


@pytest.mark.parametrize(
    ("path", "how"),
    [(INIT, "503"), (INIT, "hang"), ("PUT", "hang"), ("/api/task/upload/complete", "hang")],
)
def test_a_signal_is_obeyed_within_the_grace_period(tmp_path: Path, path: str, how: Any) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next(path, 1000, how)
        command = start(plugins.OneOutput, hub, tmp_path, grace_seconds=0.5)
        eventually(lambda: len(hub._faults[path]) < 1000)
        before = time.monotonic()
        command.send_signal(signal.SIGTERM)
        code, _, _ = finish(command)
        assert time.monotonic() - before < 15
        assert code == 1
        assert hub.statuses == [1, 5]
        assert hub.violations == []


def test_a_cancel_ends_the_attempts(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next(INIT, 1000, "503")
        with Background(plugins.OneOutput, hub, tmp_path) as task:
            initiated(hub)
            hub.set_status(4)
            assert task.ended.exit_code == 4
        assert hub.statuses == [1, 4]
        assert hub.violations == []


def test_a_hung_delivery_is_left_in_good_order(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next(RESULT, 1, "hang")
        kept = run(plugins.Quick, hub, tmp_path, isolation="thread", delivery_deadline=0.3)
        assert kept.exit_code == 75
        assert run(plugins.Quick, hub, tmp_path, isolation="thread").exit_code == 0
        assert hub.statuses == [1, 3]
        assert hub.violations == []
