from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from plugin_framework import TaskStatus
from plugin_framework.emulator import Emulator
from plugin_framework.engines.local import JOURNAL
from plugin_framework.journal.journal import Journal
from plugin_framework.lifecycle.folders import subtask_lock
from tests.cli.calling import PLUGINS, call


@pytest.fixture
def datahub(tmp_path: Path) -> Iterator[Emulator]:
    (tmp_path / "input").write_bytes(b"x")
    with Emulator(state_dir=tmp_path / "datahub", key="key", secret="secret") as datahub:
        datahub.store.create_subtask("s-1", task_id="t-1", input=tmp_path / "input")
        yield datahub


def environment(datahub: Emulator, tmp_path: Path) -> dict[str, str]:
    return {
        "DATAHUB_BASE_URL": datahub.url,
        "DATAHUB_API_KEY": "key",
        "DATAHUB_API_SECRET": "secret",
        "DATAHUB_STATE_DIR": str(tmp_path / "state"),
    }


def test_everything_from_the_environment_but_what_options_say(
    datahub: Emulator, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"word": "from the file", "times": 2}')
    env = {
        **environment(datahub, tmp_path),
        "DATAHUB_PLUGIN": f"{PLUGINS}:Echo",
        "DATAHUB_SUBTASK_ID": "s-1",
        "DATAHUB_TASK_ID": "another",
        "DATAHUB_CONFIG": "config.json",
    }
    ended = call("run", "--task-id", "t-1", "--set", "word=7up", cwd=tmp_path, env=env)
    assert ended.code == 0
    assert ended.outcome["result"]["word"] == "7up"
    assert datahub.store.subtask("s-1").status is TaskStatus.COMPLETED
    stored = {output.name for output in datahub.store.outputs("s-1")}
    assert stored == {"deep/er/input", "empty"}
    assert "secret" not in {line["message"] for line in ended.log}


def test_a_wrong_secret(datahub: Emulator, tmp_path: Path) -> None:
    env = {**environment(datahub, tmp_path), "DATAHUB_API_SECRET": "wr0ng"}
    ended = call("run", f"{PLUGINS}:Echo", "--subtask-id", "s-1", cwd=tmp_path, env=env)
    assert ended.code == 2
    assert len(ended.problems) == 1
    assert "wr0ng" not in ended.err


def test_the_subtask_is_running_already(datahub: Emulator, tmp_path: Path) -> None:
    env = environment(datahub, tmp_path)
    Journal(tmp_path / "state" / JOURNAL).close()
    with subtask_lock(tmp_path / "state", "s-1"):
        ended = call("run", f"{PLUGINS}:Echo", "--subtask-id", "s-1", cwd=tmp_path, env=env)
    assert ended.code == 75
    assert len(ended.problems) == 1
    assert "subtask s-1 is already running here" in ended.problems[0]
