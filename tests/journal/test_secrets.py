"""The part URLs of an upload are credentials: forgotten, they are in no file either."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from plugin_framework.journal.journal import Journal

SECRET = "X-Amz-Signature=c4n4ry"
URLS = [f"https://storage.example/{part}?{SECRET}" for part in range(500)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite3"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    with closing(Journal(path)) as opened:
        opened.start_attempt("s", task_id=None, plugin="p", config={})
        opened.uploads.begin("s", "x", upload_id="u", size=5, chunk=1, urls=URLS)
        yield opened


def holding(path: Path) -> list[str]:
    """The names of the journal's files that have it."""
    files = path.parent.glob(f"{path.name}*")
    return sorted(file.name for file in files if SECRET.encode() in file.read_bytes())


def test_what_is_forgotten_is_in_no_file_while_the_journal_is_open(
    journal: Journal, path: Path
) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint").fetchall()
    assert path.name in holding(path)
    journal.uploads.forget("s")
    assert holding(path) == []


def test_who_is_at_work_elsewhere_is_not_waited_for(journal: Journal, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM uploads").fetchall()
        done = threading.Thread(target=journal.uploads.forget, args=("s",))
        done.start()
        done.join(20)
        assert not done.is_alive()
        reader.execute("COMMIT")
    assert journal.uploads.find("s", "x") is None
