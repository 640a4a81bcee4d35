"""Names from outside become safe and unique paths; a subtask is held once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_framework.errors import JournalError, TaskLockedError
from plugin_framework.lifecycle.folders import (
    folder_name,
    lock_file_of,
    make_same_work_dir,
    make_work_dir,
    safe_file_name,
    subtask_lock,
    work_dir_of,
)

HOSTILE = ["..", ".", "/", "../../etc/passwd", "/etc/passwd", "a\0b", "C:\\x\\..", "\ud800", "x\n"]


@given(st.one_of(st.text(st.characters()), st.sampled_from(HOSTILE)))
def test_a_file_name_stays_in_its_folder(name: str) -> None:
    safe = safe_file_name(name)
    assert safe not in {"", ".", ".."}
    assert "/" not in safe
    assert "\0" not in safe
    assert len(safe.encode()) <= 200
    assert Path("/folder").joinpath(safe).parent == Path("/folder")


def test_what_is_harmless_is_kept() -> None:
    assert safe_file_name("données 1.csv") == "données 1.csv"
    assert safe_file_name(None) == "input"


def test_a_long_name_keeps_its_end_and_takes_no_time() -> None:
    assert safe_file_name("é" * 10_000_000 + ".parquet").endswith("é.parquet")


@given(st.text(st.characters()), st.text(st.characters()))
def test_folders_are_unique_and_inside(one: str, other: str) -> None:
    assert (folder_name(one) == folder_name(other)) == (one == other)
    assert work_dir_of(Path("/s"), one).parent == Path("/s/work")
    assert len(folder_name(one)) < 100


def test_a_subtask_is_held_once_and_its_holder_named(tmp_path: Path) -> None:
    with subtask_lock(tmp_path, "a") as was_killed:
        assert not was_killed
        with (
            pytest.raises(TaskLockedError, match=r"process \d+ since .* UTC"),
            subtask_lock(tmp_path, "a"),
        ):
            pass
        with subtask_lock(tmp_path, "b"):
            pass
    with subtask_lock(tmp_path, "a") as was_killed:
        assert not was_killed


def test_a_holder_that_did_not_let_go_was_killed(tmp_path: Path) -> None:
    with subtask_lock(tmp_path, "a"):
        (lock,) = (tmp_path / "locks").iterdir()
        left = lock.read_text()
    lock.write_text(left)
    with subtask_lock(tmp_path, "a") as was_killed:
        assert was_killed


@pytest.mark.parametrize("killed", [True, False])
def test_a_start_that_fails_does_not_hide_a_kill(tmp_path: Path, *, killed: bool) -> None:
    def fail() -> None:
        with subtask_lock(tmp_path, "a") as was_killed:
            assert was_killed == killed
            raise RuntimeError

    with subtask_lock(tmp_path, "a"):
        pass
    lock_file_of(tmp_path, "a").write_text("process 1" * killed)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            fail()
    with subtask_lock(tmp_path, "a") as was_killed:
        assert was_killed == killed
    with subtask_lock(tmp_path, "a") as was_killed:
        assert not was_killed


def test_a_state_folder_that_cannot_be_used_says_what_to_do(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(JournalError, match="DATAHUB_STATE_DIR"):
        make_work_dir(blocked, "a")
    with pytest.raises(JournalError, match="DATAHUB_STATE_DIR"), subtask_lock(blocked, "a"):
        pass


def test_all_that_is_made_is_for_its_owner_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    make_same_work_dir(state, "a", None, place="a")
    with subtask_lock(state, "a"):
        modes = {path.name: path.stat().st_mode & 0o777 for path in (state, *state.rglob("*"))}
    assert {name for name, mode in modes.items() if mode & 0o077} == set()
    assert len(modes) == 6
