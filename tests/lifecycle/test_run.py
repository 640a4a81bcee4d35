"""A subtask from its start to its end, when nothing and when everything goes wrong in user code."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from plugin_framework.errors import ConfigurationError
from plugin_framework.protocol.models import TaskStatus
from tests.lifecycle import plugins
from tests.lifecycle.running import SUBTASK, Background, eventually, finish, run, start
from tests.strict_datahub import StrictDatahub

KEY, SECRET, TOKEN = "plugin-key-0001", "an-api-secret-0001", "a-bearer-token-0001"
DATA = os.urandom(300_000)
SIGNED = {"api_key": KEY, "api_secret": SECRET}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("isolation", ["process", "thread"])
@pytest.mark.parametrize(
    ("server", "client"),
    [
        ({"key": KEY, "secret": SECRET, "part_urls": "strings"}, SIGNED),
        ({"token": TOKEN, "fields": "joined"}, {"token": TOKEN, "upload_fields": "joined"}),
        ({"chunk_echo": False}, {}),
    ],
    ids=["signed, strings", "bearer, joined", "open"],
)
def test_a_normal_run(
    tmp_path: Path, source: Path, isolation: str, server: dict[str, Any], client: dict[str, Any]
) -> None:
    with StrictDatahub(SUBTASK, input_file=source, **server) as hub:
        outcome = run(plugins.Copies, hub, tmp_path / "state", isolation=isolation, **client)
        assert hub.violations == []
        assert hub.statuses == [1, 3]
        assert hub.result == {
            "total_counts": 1,
            "success_counts": 1,
            "failed_counts": 0,
            "size": len(DATA),
            "middle": DATA[5:8].hex(),
        }
        expected = {
            "a/b/copy.bin": DATA,
            "link": DATA,
            "empty": b"",
            "by hand.bin": DATA[:10],
        }
        assert hub.outputs == expected
    assert outcome.exit_code == 0
    assert {file.name: file.size for file in outcome.outputs} == {
        name: len(data) for name, data in expected.items()
    }
    assert list((tmp_path / "state" / "work").iterdir()) == []


def test_heartbeats_follow_the_progress_at_their_interval(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub, Background(plugins.Steps, hub, tmp_path) as task:
        hub.wait_for(lambda: len(hub.heartbeats) >= 12)
        (tmp_path / "go").touch()
        assert task.ended.status == TaskStatus.COMPLETED
        started = next(call.time for call in hub.calls if call.path.endswith("update_status"))
        times = [time for time, _ in hub.heartbeats]
        percents = [percent for _, percent in hub.heartbeats]
        assert times[0] - started < 2
        assert percents == sorted(percents)
        assert percents[-1] > 0
        gaps = [after - before for before, after in itertools.pairwise(times)]
        assert sorted(gaps)[len(gaps) // 2] == pytest.approx(0.1, abs=0.08)
        assert hub.violations == []


def test_notify_is_asked_with_the_task_id(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK, task_id="task_abc") as hub:
        command = start(plugins.Steps, hub, tmp_path, "--task-id", "task_abc")
        hub.wait_for(lambda: any(call.path.endswith("notify") for call in hub.calls))
        (tmp_path / "go").touch()
        code, outcome, _ = finish(command)
        assert code == 0
        assert outcome["status_name"] == "completed"
        assert hub.statuses == [1, 3]
        assert hub.violations == []


@pytest.mark.parametrize(
    ("way", "error"),
    [
        ("raise", "ValueError: two lines"),
        ("base", "OddError: odd"),
        ("exit", "SystemExit: 0"),
        ("interrupt", "KeyboardInterrupt"),
        ("os._exit", "exited with code 0"),
        ("segfault", "SIGSEGV"),
        ("kill", "SIGKILL"),
        ("nan", "not JSON"),
        ("surrogate", "not JSON"),
        ("large", "bytes of JSON"),
        ("list", "process returned list"),
    ],
)
def test_all_that_goes_wrong_is_status_5_once(tmp_path: Path, way: str, error: str) -> None:
    with StrictDatahub(SUBTASK) as hub:
        outcome = run(plugins.Mischief, hub, tmp_path, {"way": way})
        assert hub.statuses == [1, 5]
        assert hub.repeats == 0
        assert hub.violations == []
    assert (outcome.status, outcome.exit_code, outcome.delivered) == (TaskStatus.FAILED, 1, True)
    assert outcome.error is not None
    assert error in outcome.error
    assert "\n" not in outcome.error


@pytest.mark.parametrize("way", ["raise", "exit", "interrupt", "nan"])
def test_a_thread_fails_as_a_process_does(tmp_path: Path, way: str) -> None:
    with StrictDatahub(SUBTASK) as hub:
        outcome = run(plugins.Mischief, hub, tmp_path, {"way": way}, isolation="thread")
        assert hub.statuses == [1, 5]
        assert hub.violations == []
    assert outcome.exit_code == 1


def test_the_command_exits_with_1_when_the_plugin_crashes(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        command = start(plugins.Mischief, hub, tmp_path, "--set", "way=segfault")
        code, outcome, said = finish(command)
        assert code == 1
        assert hub.statuses == [1, 5]
        assert hub.violations == []
    assert "SIGSEGV" in outcome["error"]
    errors = [line for line in said.splitlines() if '"level": "error"' in line]
    assert len(errors) == 1


def test_an_output_that_storage_refuses_fails_the_task_in_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StrictDatahub(SUBTASK) as hub:
        issue = hub.storage.issue_put
        monkeypatch.setattr(hub.storage, "issue_put", lambda *given: issue(*given) + "&forged=1")
        outcome = run(plugins.OneOutput, hub, tmp_path)
        assert hub.statuses == [1, 5]
        assert all("not issued" in violation for violation in hub.violations)
    assert outcome.error is not None
    assert "AccessDenied" in outcome.error
    assert "forged" not in outcome.error


def test_an_output_that_has_no_name_fails_the_task(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        outcome = run(plugins.OddOutput, hub, tmp_path)
        assert hub.statuses == [1, 5]
        assert hub.violations == []
    assert outcome.error is not None
    assert "an output could not be stored" in outcome.error


def test_a_config_that_is_wrong_runs_nothing(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        with pytest.raises(ConfigurationError, match="way"):
            run(plugins.Mischief, hub, tmp_path, {})
        assert hub.calls == []


def test_a_hook_that_hangs_after_the_work_is_ended(tmp_path: Path) -> None:
    with (
        StrictDatahub(SUBTASK) as hub,
        Background(plugins.HangsAfter, hub, tmp_path, grace_seconds=1) as task,
    ):
        hub.wait_for(lambda: hub.statuses == [1, 3])
        eventually((tmp_path / "hanging").exists)
        assert task.ended.exit_code == 0
        assert hub.violations == []


def test_the_plugin_chooses_its_isolation_and_the_setting_wins(tmp_path: Path) -> None:
    pids = []
    choices: list[dict[str, Any]] = [{}, {"isolation": "process"}]
    for number, changes in enumerate(choices):
        with StrictDatahub(SUBTASK) as hub:
            outcome = run(plugins.QuickInThread, hub, tmp_path / str(number), **changes)
            assert outcome.result is not None
            pids.append(outcome.result["pid"])
    assert pids[0] == os.getpid()
    assert pids[1] != os.getpid()


def test_state_with_keys_that_would_come_back_as_text_is_refused(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        outcome = run(plugins.OddState, hub, tmp_path)
    assert outcome.result == {
        "refused": [
            f"the saved state has the key {key}: keys must be str"
            for key in ("1, of type int", "None, of type NoneType", "True, of type bool")
        ]
        + ["the saved state has the key 1.5, of type float: keys must be str"],
        "state": {},
    }
