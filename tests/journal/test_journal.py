"""What is written stays, whatever dies; what cannot be written is said in one line."""

from __future__ import annotations

import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugin_framework.errors import JournalError
from plugin_framework.journal.database import SCHEMA_VERSION
from plugin_framework.journal.journal import Journal

WRITER = """
import sys
from pathlib import Path
from plugin_framework.journal.journal import Journal
path, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
sys.stdin.readline()
journal = Journal(path)
journal.start_attempt(name, task_id=None, plugin="p", config={})
for number in range(count):
    journal.add_report(name, status=1, path="/status", body=b"%d" % number)
print("written", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite3"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal(path)
    yield opened
    opened.close()


def start(journal: Journal, subtask: str = "s") -> tuple[int, dict[str, object]]:
    return journal.start_attempt(subtask, task_id="t", plugin="p", config={"a": 1})


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_attempts_count_and_bring_the_saved_state(journal: Journal) -> None:
    assert start(journal) == (1, {})
    journal.save_state("s", {"line": 7, "text": "\ud800"})
    assert start(journal) == (2, {"line": 7, "text": "\ud800"})
    assert start(journal, "other") == (1, {})


def test_a_forgotten_attempt_leaves_nothing(journal: Journal) -> None:
    start(journal)
    report = journal.add_report("s", status=1, path="/status", body=b"{}")
    journal.forget_attempt("s", 1, report.report_id)
    assert journal.pending_reports("s") == []
    assert start(journal) == (1, {})


def test_a_forgotten_attempt_leaves_the_one_before(journal: Journal) -> None:
    start(journal)
    journal.save_state("s", {"kept": True})
    report = journal.add_report("s", status=2, path="/status", body=b"{}")
    start(journal)
    begun = journal.add_report("s", status=1, path="/status", body=b"{}")
    journal.forget_attempt("s", 2, begun.report_id)
    assert journal.pending_reports("s") == [report]
    assert start(journal) == (2, {"kept": True})


def test_reports_stay_in_order_until_they_are_settled(journal: Journal) -> None:
    start(journal)
    first, second, third = (
        journal.add_report("s", status=n, path="/status", body=b"%d" % n) for n in (1, 2, 1)
    )
    journal.settle_report(first.report_id, "delivered")
    journal.settle_report(second.report_id, "refused")
    assert journal.pending_reports("s") == [third]
    assert journal.ending("s") is None


def test_a_second_terminal_report_is_refused(journal: Journal) -> None:
    start(journal)
    kept = journal.add_report("s", status=3, path="/result", body=b"{}", outcome={"result": {}})
    with pytest.raises(JournalError, match="refuses a write") as caught:
        journal.add_report("s", status=5, path="/status", body=b"{}", outcome={"error": "x"})
    assert "\n" not in str(caught.value)
    assert journal.ending("s") == kept
    journal.add_report("s", status=1, path="/status", body=b"{}")


def test_a_killed_process_loses_nothing_it_has_written(path: Path) -> None:
    process = writer(path, "s", 3)
    with process:
        go(process)
        assert line(process) == "written"
        process.send_signal(signal.SIGKILL)
    journal = Journal(path)
    assert [report.body for report in journal.pending_reports("s")] == [b"0", b"1", b"2"]
    journal.close()


def test_processes_open_and_write_at_once(path: Path) -> None:
    names = [f"s{number}" for number in range(5)]
    writers = [writer(path, name, 20) for name in names]
    for process in writers:
        go(process)
    assert [line(process) for process in writers] == ["written"] * len(writers)
    for process in writers:
        process.communicate("\n")
    journal = Journal(path)
    assert [len(journal.pending_reports(name)) for name in names] == [20] * len(names)
    journal.close()


def test_threads_write_at_once(journal: Journal) -> None:
    start(journal)

    def write() -> None:
        for _ in range(20):
            journal.add_report("s", status=1, path="/status", body=b"{}")

    threads = [threading.Thread(target=write) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [report.report_id for report in journal.pending_reports("s")]
    assert len(numbers) == 100
    assert numbers == sorted(set(numbers))


def test_only_its_owner_may_read_it(journal: Journal, path: Path) -> None:
    start(journal)
    files = sorted(path.parent.iterdir())
    assert len(files) == 4
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_every_write_is_synced(journal: Journal) -> None:
    assert journal._db._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert journal._db._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_newer_journal_is_refused_and_left_alone(path: Path) -> None:
    Journal(path).close()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(JournalError, match="newer version of the framework"):
        Journal(path)
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 1,)
    db.close()


def unusable(kind: str, folder: Path) -> Path:
    path = folder / "journal.sqlite3"
    if kind == "a folder":
        path.mkdir()
    elif kind == "folder is a file":
        (folder / "file").write_text("")
        path = folder / "file" / "journal.sqlite3"
    else:
        path = Path("/proc/nowhere/journal.sqlite3")
    return path


@pytest.mark.parametrize("kind", ["a folder", "folder is a file", "no folder"])
def test_what_cannot_be_a_journal_is_one_line(kind: str, tmp_path: Path) -> None:
    path = unusable(kind, tmp_path)
    with pytest.raises(JournalError, match="DATAHUB_STATE_DIR") as caught:
        Journal(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "None" not in str(caught.value)


def test_a_closed_journal_says_so(path: Path) -> None:
    journal = Journal(path)
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.pending_reports("s")


def test_a_state_that_is_not_json_changes_nothing(journal: Journal) -> None:
    start(journal)
    journal.save_state("s", {"good": 1})
    with pytest.raises(TypeError):
        journal.save_state("s", {"bad": object()})
    assert start(journal) == (2, {"good": 1})
