"""A damaged journal is put aside; one of another version is migrated, or refused."""

from __future__ import annotations

import logging
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from plugin_framework.errors import JournalError
from plugin_framework.journal.database import SCHEMA_VERSION, Database
from plugin_framework.journal.health import Guard
from plugin_framework.journal.journal import Journal
from plugin_framework.journal.migrations import MIGRATIONS

OPENER = """
import sys
from pathlib import Path
from plugin_framework.journal.journal import Journal
sys.stdin.readline()
journal = Journal(Path(sys.argv[1]))
journal.start_attempt(sys.argv[2], task_id=None, plugin="p", config={})
journal.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite3"


def fill(path: Path, count: int = 200) -> None:
    with closing(Journal(path)) as journal:
        for number in range(count):
            name = f"s{number}"
            journal.start_attempt(name, task_id=None, plugin="p", config={"text": "x" * 500})
            journal.add_report(name, status=1, path="/status", body=b"{}" * 100)


def overwrite_the_header(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)


def overwrite_a_page(path: Path) -> None:
    """All pages but the first ones, which say what tables there are, as bad blocks leave them."""
    begin = path.stat().st_size // 2
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(b"\xa5" * begin)


def copies(path: Path) -> list[Path]:
    return sorted(path.parent.glob("journal.sqlite3.corrupt-*Z"))


@pytest.mark.parametrize("spoil", [overwrite_the_header, overwrite_a_page])
def test_a_damaged_journal_is_put_aside_with_a_loud_line(
    path: Path, spoil: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    fill(path)
    spoil(path)
    spoilt = path.read_bytes()
    Path(f"{path}-wal").write_bytes(b"what the last process left")
    with closing(Journal(path)) as journal:
        assert journal.start_attempt("new", task_id=None, plugin="p", config={}) == (1, {})
    (copy,) = copies(path)
    assert copy.read_bytes() == spoilt
    assert Path(f"{copy}-wal").exists()
    (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert str(copy) in record.getMessage()
    assert "undelivered reports may be in it" in record.getMessage()
    Journal(path).close()
    assert copies(path) == [copy]


def lose_the_rest_but_its_log(path: Path) -> None:
    path.write_bytes(b"")
    Path(f"{path}-wal").write_bytes(b"what the last process left")


def lose_it_beside_work(path: Path) -> None:
    path.write_bytes(b"")
    (path.parent / "work" / "s-1").mkdir(parents=True)


def lose_it_beside_locks(path: Path) -> None:
    path.write_bytes(b"")
    (path.parent / "locks").mkdir()
    (path.parent / "locks" / "s-1.lock").touch()


def lose_it_but_a_byte(path: Path) -> None:
    path.write_bytes(b"S")
    (path.parent / "work" / "s-1").mkdir(parents=True)


def cut_its_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


@pytest.mark.parametrize(
    "spoil",
    [
        lose_the_rest_but_its_log,
        lose_it_beside_work,
        lose_it_beside_locks,
        lose_it_but_a_byte,
        cut_its_header,
    ],
)
def test_an_emptied_journal_is_not_taken_for_a_new_one(
    path: Path, spoil: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    fill(path, 1)
    spoil(path)
    left = {file.name: file.read_bytes() for file in path.parent.glob(f"{path.name}*")}
    with closing(Journal(path)) as journal:
        assert journal.records.all() == []
    (copy,) = copies(path)
    assert copy.read_bytes() == left[path.name]
    if (log := left.get(f"{path.name}-wal")) is not None:
        assert Path(f"{copy}-wal").read_bytes() == log
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "undelivered reports may be in it" in record.getMessage()
    Journal(path).close()
    assert copies(path) == [copy]
    assert len(caplog.records) == 1


def test_a_new_journal_is_begun_in_silence(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for folder in ("work", "locks"):
        (path.parent / folder).mkdir(parents=True)
    path.touch()  # as far as one came who was killed
    Journal(path).close()
    assert copies(path) == []
    assert caplog.records == []


def test_damage_after_a_clean_close_costs_nothing(path: Path) -> None:
    fill(path)
    overwrite_a_page(path)
    with closing(Journal(path)) as journal:
        assert journal.records.all() == []
        assert journal.start_attempt("s", task_id=None, plugin="p", config={}) == (1, {})
    assert len(copies(path)) == 1


def test_damage_found_in_use_is_put_aside_at_the_next_start(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plugin_framework.journal.database.CHECKED_SIZE", 2**16)
    fill(path)
    overwrite_a_page(path)
    with closing(Journal(path)) as journal:  # large, and closed in good order: not checked
        with pytest.raises(JournalError, match="damaged") as caught:
            journal.records.all()
        assert "\n" not in str(caught.value)
    assert copies(path) == []
    with closing(Journal(path)) as journal:
        assert journal.records.all() == []
    assert len(copies(path)) == 1


def test_a_damaged_journal_in_use_elsewhere_is_refused_not_moved(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plugin_framework.journal.health.LOCK_SECONDS", 0.2)
    fill(path)
    overwrite_the_header(path)
    with closing(Guard(path)) as other:
        other.enter()
        other.share()
        with pytest.raises(JournalError, match="in use by another process"):
            Journal(path)
        assert copies(path) == []


def test_processes_that_open_a_damaged_journal_at_once_put_one_aside(path: Path) -> None:
    fill(path, 5)
    overwrite_the_header(path)
    names = [f"p{number}" for number in range(6)]
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, str(path), name],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    said = [opener.communicate("\n", timeout=60)[1] for opener in openers]
    assert [opener.returncode for opener in openers] == [0] * len(names), said
    assert len(copies(path)) == 1
    with closing(Journal(path)) as journal:
        assert {one.subtask_id for one in journal.records.all()} == set(names)


def test_a_killed_process_leaves_a_sound_journal_that_stays(path: Path) -> None:
    code = OPENER.replace("journal.close()", "import os; os.kill(os.getpid(), 9)")
    subprocess.run([sys.executable, "-c", code, str(path), "s"], input=b"\n", check=False)
    assert Path(f"{path}-wal").stat().st_size
    with closing(Journal(path)) as journal:
        assert journal.records.find("s") is not None
    assert copies(path) == []


def test_a_journal_of_version_1_is_migrated_with_what_it_holds(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(MIGRATIONS[0] + "PRAGMA user_version = 1;")
        db.execute(
            "INSERT INTO subtasks VALUES ('s', 't', 'p', '{}', '{\"line\": 7}', 1700000000.0)"
        )
        db.execute("INSERT INTO attempts VALUES ('s', 1, 1700000000.0)")
        db.execute(
            "INSERT INTO reports (subtask_id, status, path, body, outcome, created)"
            " VALUES ('s', 3, '/api/task/result', x'7b7d', '{\"error\": null}', 1700000001.0)"
        )
        db.commit()
    with closing(Journal(path)) as journal:
        assert [one.body for one in journal.pending_reports("s")] == [b"{}"]
        journal.timeline.note("s", "stalled", seconds=1)
        assert [one.kind for one in journal.timeline.events("s")] == [
            "attempt", "report", "stalled"
        ]  # fmt: skip
        assert journal.uploads.find("s", "x") is None
        assert journal.start_attempt("s", task_id="t", plugin="p", config={}) == (2, {"line": 7})
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    assert copies(path) == []


def test_opening_leaves_the_locks_of_this_process_alone(path: Path) -> None:
    """Closing any file descriptor of a locked file drops a process's locks on it."""
    with closing(Journal(path)) as first:
        first.start_attempt("s", task_id=None, plugin="p", config={})
        Journal(path).close()
        subprocess.run([sys.executable, "-c", OPENER, str(path), "other"], input=b"\n", check=True)
        assert Path(f"{path}-wal").exists(), "the other process took itself for the last one"
        first.add_report("s", status=1, path="/status", body=b"{}")
    with closing(Journal(path)) as journal:
        assert {one.subtask_id for one in journal.records.all()} == {"s", "other"}
        assert len(journal.pending_reports("s")) == 1


def test_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "journal.sqlite3")
    with pytest.raises(JournalError, match="no regular file"):
        Journal(tmp_path / "journal.sqlite3")


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_may_not_grow(path: Path, small_files: Callable[[int], None]) -> None:
    with closing(Journal(path)) as journal:
        journal.start_attempt("s", task_id=None, plugin="p", config={})
        small_files(Path(f"{path}-wal").stat().st_size)
        with pytest.raises(JournalError, match="DATAHUB_STATE_DIR") as caught:
            journal.add_report("s", status=3, path="/r", body=b"{}", outcome={"error": None})
        assert "\n" not in str(caught.value)
        assert journal.pending_reports("s") == []
        small_files(resource.RLIM_INFINITY)
        journal.add_report("s", status=3, path="/r", body=b"{}", outcome={"error": None})
    with closing(Journal(path)) as journal:
        assert len(journal.pending_reports("s")) == 1


def test_every_write_of_a_report_is_synced_also_after_a_note(path: Path) -> None:
    with closing(Journal(path)) as journal:
        journal.start_attempt("s", task_id=None, plugin="p", config={})
        journal.timeline.note("s", "stalled", seconds=1)
        journal.add_report("s", status=1, path="/status", body=b"{}")
        assert isinstance(journal._db, Database)
        assert journal._db._connection.execute("PRAGMA synchronous").fetchone() == (2,)
