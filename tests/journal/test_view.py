"""A journal that may not be written can still be looked at, and nothing is changed by it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from plugin_framework.journal.journal import Journal
from plugin_framework.journal.migrations import MIGRATIONS
from tests.cli.calling import COMMAND, Ended, end_of, environment
from tests.journal.test_disk import OWN_MOUNTS, mounts

NOBODY = 65534
# All is imported before: another user may not be able to read it.
AS_ANOTHER_USER = f"""
import os, sys
import plugin_framework.cli.app, plugin_framework.cli.timeline_page, plugin_framework.settings
import plugin_framework.engines.local, plugin_framework.engines.delivery
import plugin_framework.journal.view
plugin_framework.settings.load_settings()
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
sys.argv[0] = "datahub-plugin"
plugin_framework.cli.app.main()
"""


@pytest.fixture
def state() -> Iterator[Path]:
    """A folder that other users reach."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        folder = Path(name, "state")
        folder.mkdir()
        yield folder
        folder.chmod(0o755)


def fill(state: Path) -> Journal:
    """An open journal with one subtask, whose report is undelivered."""
    journal = Journal(state / "journal.sqlite3")
    journal.start_attempt("s-1", task_id="t-1", plugin="p", config={})
    journal.add_report("s-1", status=1, path="/api/task/update_status", body=b"{}")
    return journal


def leave_to_read(state: Path) -> None:
    """Have nobody write it: not its owner either, where the tests run as that."""
    for file in state.iterdir():
        file.chmod(0o444)
    state.chmod(0o555)


def as_another_user(state: Path, *arguments: str) -> Ended:
    with subprocess.Popen(
        [sys.executable, "-c", AS_ANOTHER_USER, *arguments],
        cwd="/",
        env=environment(DATAHUB_STATE_DIR=str(state), DATAHUB_BASE_URL="http://127.0.0.1:9"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        return end_of(process)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def looks_right(state: Path) -> None:
    """What another user sees; the index beside a log is shared memory, and no part of a journal."""
    before = contents(state)
    listed = as_another_user(state, "journal", "list", "--json")
    assert (listed.code, listed.err) == (0, "")
    (record,) = json.loads(listed.out)
    assert (record["subtask_id"], record["state"]) == ("s-1", "undelivered")
    shown = as_another_user(state, "journal", "show", "s-1")
    assert (shown.code, shown.err) == (0, "")
    assert "running: kept on disk" in shown.out
    after = contents(state)
    assert after.keys() == before.keys()
    assert {n: b for n, b in after.items() if not n.endswith("-shm")} == {
        n: b for n, b in before.items() if not n.endswith("-shm")
    }


def test_another_users_journal(state: Path) -> None:
    fill(state).close()
    leave_to_read(state)
    looks_right(state)


def test_another_users_journal_in_use(state: Path) -> None:
    with closing(fill(state)) as journal:
        leave_to_read(state)
        looks_right(state)
        journal.start_attempt("s-2", task_id=None, plugin="p", config={})
        assert "s-2" in as_another_user(state, "journal", "list", "--all").out


def test_another_users_journal_with_what_a_killed_run_left(state: Path, tmp_path: Path) -> None:
    with closing(fill(tmp_path)):
        for name in ("journal.sqlite3", "journal.sqlite3-wal"):
            shutil.copyfile(tmp_path / name, state / name)
    leave_to_read(state)
    looks_right(state)


def test_another_users_older_journal(state: Path) -> None:
    with closing(sqlite3.connect(state / "journal.sqlite3", isolation_level=None)) as db:
        db.executescript(f"PRAGMA journal_mode = WAL; {MIGRATIONS[0]} PRAGMA user_version = 1;")
        db.execute("INSERT INTO subtasks VALUES ('s-1', NULL, 'p', '{}', '{}', 1.0)")
        db.execute("INSERT INTO attempts VALUES ('s-1', 1, 1.0)")
        db.execute(
            "INSERT INTO reports (subtask_id, status, path, body, created)"
            " VALUES ('s-1', 1, '/api/task/update_status', x'7b7d', 1.0)"
        )
    leave_to_read(state)
    looks_right(state)


def test_no_journal_where_none_can_be_made(state: Path) -> None:
    leave_to_read(state)
    ended = as_another_user(state, "journal", "list")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == f"there is no journal at {state / 'journal.sqlite3'}\n"
    assert contents(state) == {}


@pytest.mark.parametrize("command", ["deliver", "prune"])
def test_what_would_write_says_that_it_may_not(state: Path, command: str) -> None:
    fill(state).close()
    leave_to_read(state)
    before = contents(state)
    ended = as_another_user(state, "journal", command)
    assert ended.code == 2
    (problem,) = ended.problems
    assert "(Permission denied; it belongs to user " in problem
    assert contents(state) == before


@pytest.mark.parametrize("what", ["the file", "its folder"])
@pytest.mark.parametrize("command", [("list",), ("show", "s-1"), ("prune",)])
def test_a_journal_that_may_not_even_be_read(
    state: Path, what: str, command: tuple[str, ...]
) -> None:
    fill(state).close()
    (state / "journal.sqlite3" if what == "the file" else state).chmod(0)
    ended = as_another_user(state, "journal", *command)
    assert ended.code == 2
    (problem,) = ended.problems
    assert "(Permission denied" in problem
    assert "run as its owner, or set DATAHUB_STATE_DIR" in problem


def test_damage_is_said_where_it_cannot_be_mended(state: Path) -> None:
    fill(state).close()
    (state / "journal.sqlite3").write_bytes(b"no database" * 1000)
    leave_to_read(state)
    ended = as_another_user(state, "journal", "list")
    assert ended.code == 2
    (problem,) = ended.problems
    assert "is damaged" in problem


@mounts
def test_a_disk_that_is_read_only(state: Path) -> None:
    fill(state).close()
    before = contents(state)
    mount = f"mount --bind {state} {state}; mount -o remount,bind,ro {state}"

    def mounted(*arguments: str) -> Ended:
        with subprocess.Popen(
            [*OWN_MOUNTS, "sh", "-ec", f'{mount}\nexec "$@"', "sh", COMMAND, *arguments],
            env=environment(DATAHUB_STATE_DIR=str(state), DATAHUB_BASE_URL="http://127.0.0.1:9"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            return end_of(process)

    listed = mounted("journal", "list")
    assert (listed.code, listed.err) == (0, "")
    assert "s-1" in listed.out
    assert "running: kept on disk" in mounted("journal", "show", "s-1").out
    (problem,) = mounted("journal", "prune").problems
    assert "(Read-only file system)" in problem
    assert contents(state) == before


def test_the_owner_is_none_that_has_a_name(state: Path) -> None:
    fill(state).close()
    if os.geteuid() == 0:
        os.chown(state / "journal.sqlite3", 3_000_000_000, -1)
    (state / "journal.sqlite3").chmod(0)
    (problem,) = as_another_user(state, "journal", "list").problems
    assert "; it belongs to user " in problem
