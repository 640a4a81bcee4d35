"""A plugin that runs out of memory by its own limit, or is killed; what the kernel counts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from plugin_framework.isolation.memory import oom_kills
from tests.lifecycle import plugins
from tests.lifecycle.running import SUBTASK, finish, start
from tests.strict_datahub import StrictDatahub


def ends_as(tmp_path: Path, way: str) -> Any:
    with StrictDatahub(SUBTASK) as hub:
        process = start(plugins.Hungry, hub, tmp_path, "--set", f"way={way}")
        code, outcome, said = finish(process)
        assert code == 1, said
        assert hub.statuses == [1, 5]
        assert hub.violations == []
    return outcome["error"]


def test_a_kill_by_hand_is_only_perhaps_for_memory(tmp_path: Path) -> None:
    error = ends_as(tmp_path, "killed")
    assert re.search(r"SIGKILL, perhaps out of memory \(peak memory \d+ MiB\)", error)


def test_out_of_memory_by_its_own_limit(tmp_path: Path) -> None:
    assert ends_as(tmp_path, "limited").startswith("MemoryError")


@pytest.mark.parametrize(
    ("membership", "file"),
    [
        ("0::/a/b", "a/b/memory.events"),
        ("0::/seen/from/outside", "memory.events"),
        ("4:memory:/a/b\n0::/", "memory/a/b/memory.oom_control"),
        ("4:memory:/seen/from/outside", "memory/memory.oom_control"),
    ],
)
def test_the_kernels_count_is_found(tmp_path: Path, membership: str, file: str) -> None:
    member = tmp_path / "member"
    member.write_text(f"7:pids:/\n{membership}\n")
    counted = tmp_path / "groups" / file
    counted.parent.mkdir(parents=True)
    counted.write_text("low 0\noom 9\noom_kill 3\noom_group_kill 1\n")
    assert oom_kills(tmp_path / "groups", member) == 3


def test_where_the_kernel_tells_nothing_there_is_no_count(tmp_path: Path) -> None:
    assert oom_kills(tmp_path, tmp_path / "nothing") == 0
