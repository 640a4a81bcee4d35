"""A database that is none of ours is left alone, byte for byte."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from plugin_framework.errors import JournalError
from plugin_framework.journal.journal import Journal
from tests.cli.calling import call


def another_application(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE songs (title TEXT)")
    db.execute("INSERT INTO songs VALUES ('x')")


def one_with_an_id(db: sqlite3.Connection) -> None:
    another_application(db)
    db.execute("PRAGMA application_id = 0x47504B47")


def one_with_a_log(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    one_with_an_id(db)


def one_with_a_format_only(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA user_version = 1")


def one_below_zero(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA user_version = -1")


KINDS = [
    another_application, one_with_an_id, one_with_a_log, one_with_a_format_only, one_below_zero
]  # fmt: skip


def write(path: Path, kind: Callable[[sqlite3.Connection], None]) -> None:
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        kind(db)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite3"


@pytest.mark.parametrize("kind", KINDS)
def test_a_database_of_others_is_left_alone(
    kind: Callable[[sqlite3.Connection], None], path: Path
) -> None:
    write(path, kind)
    before = contents(path.parent)
    with pytest.raises(JournalError, match="is not a journal of this framework") as caught:
        Journal(path)
    assert "\n" not in str(caught.value)
    assert "move it elsewhere, or set DATAHUB_STATE_DIR" in str(caught.value)
    assert contents(path.parent) == before


def test_one_that_is_in_use(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        one_with_a_log(db)
        with pytest.raises(JournalError, match="application 0x47504b47"):
            Journal(path)
        assert db.execute("SELECT count(*) FROM songs").fetchone() == (1,)
        assert {file.suffix for file in path.parent.iterdir()} == {
            ".sqlite3", ".sqlite3-wal", ".sqlite3-shm"
        }  # fmt: skip


@pytest.mark.parametrize(
    ("version", "said"), [(-1, "its format is -1"), (2**31 - 1, "a newer version")]
)
def test_a_journal_of_an_absurd_format(version: int, said: str, path: Path) -> None:
    Journal(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {version}")
    before = contents(path.parent)
    with pytest.raises(JournalError, match=said):
        Journal(path)
    assert contents(path.parent) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("journal", "list"),
        ("journal", "prune"),
        ("run", "tests.lifecycle.plugins:Quick", "--subtask-id", "s"),
    ],
)
def test_the_command_says_it_in_one_line(arguments: tuple[str, ...], path: Path) -> None:
    write(path, another_application)
    before = contents(path.parent)
    env = {"DATAHUB_STATE_DIR": str(path.parent), "DATAHUB_BASE_URL": "http://127.0.0.1:9"}
    ended = call(*arguments, cwd=path.parents[1], env=env)
    assert ended.code == 2
    (problem,) = ended.problems
    assert "is not a journal of this framework (a database of another application)" in problem
    assert contents(path.parent) == before
