"""The state directory: its layout, older and newer ones, and reading while others write."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from plugin_framework.emulator import Store
from plugin_framework.emulator.database import Database
from plugin_framework.emulator.logs import LINES_KEPT, LONGEST_LINE, LogLine
from plugin_framework.emulator.schema import SCHEMA_VERSION
from plugin_framework.emulator.store import Assignment
from plugin_framework.emulator.subtasks import (
    HEARTBEATS_KEPT,
    HEARTBEATS_KEPT_OF_ENDED,
    Subtask,
)
from plugin_framework.errors import ConfigurationError
from plugin_framework.protocol.models import TaskStatus
from tests.emulator.platform.reporting import beat, finish, report

FIRST_LAYOUT = """
CREATE TABLE secrets (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE subtasks (number INTEGER PRIMARY KEY, subtask_id TEXT NOT NULL UNIQUE, task_id TEXT,
    status INTEGER NOT NULL DEFAULT 0, requested INTEGER, progress INTEGER NOT NULL DEFAULT 0,
    heartbeat_at REAL, config TEXT NOT NULL, result TEXT, final_report TEXT, input_key TEXT,
    input_name TEXT, created_at REAL NOT NULL);
CREATE TABLE events (number INTEGER PRIMARY KEY, at REAL NOT NULL, subtask_id TEXT NOT NULL,
    kind TEXT NOT NULL, detail TEXT NOT NULL, code INTEGER NOT NULL, message TEXT NOT NULL);
CREATE INDEX events_of_subtask ON events (subtask_id);
CREATE TABLE uploads (upload_id TEXT PRIMARY KEY, subtask_id TEXT NOT NULL, key TEXT NOT NULL,
    name TEXT NOT NULL, size INTEGER NOT NULL, parts INTEGER NOT NULL, multipart INTEGER NOT NULL,
    completed INTEGER UNIQUE, manifest TEXT);
CREATE TABLE parts (upload_id TEXT NOT NULL, number INTEGER NOT NULL, blob TEXT NOT NULL,
    size INTEGER NOT NULL, etag TEXT NOT NULL, PRIMARY KEY (upload_id, number)) WITHOUT ROWID;
CREATE TABLE objects (key TEXT PRIMARY KEY, blob TEXT NOT NULL, size INTEGER, etag TEXT)
    WITHOUT ROWID;
INSERT INTO secrets VALUES ('storage', 'kept');
INSERT INTO subtasks VALUES
    (1, 'done', 'whole', 3, NULL, 100, 15.0, '{"a": 1}', '{"total_counts": 2}', 'digest', NULL,
     NULL, 10.0),
    (2, 'running', NULL, 1, 2, 40, NULL, '{}', NULL, NULL, 'key', 'input.csv', 11.0);
INSERT INTO events VALUES
    (1, 12.0, 'done', 'status', '{"status": 1}', 0, ''),
    (2, 13.0, 'done', 'status', '{"status": 3}', 1, 'status 3 is set by result only'),
    (3, 16.0, 'done', 'result', '{"total_counts": 2}', 0, ''),
    (4, 17.0, 'running', 'status', '{"status": 1}', 0, '');
"""


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A state directory of the first layout, which had no number."""
    with closing(sqlite3.connect(tmp_path / "datahub.sqlite3")) as made:
        made.executescript("PRAGMA journal_mode = WAL;" + FIRST_LAYOUT)
    return tmp_path


def layout(path: Path) -> dict[str, list[object]]:
    """Each table, index and trigger, and the columns of tables and indexes."""
    with closing(sqlite3.connect(path / "datahub.sqlite3")) as made:
        query = "SELECT name, type FROM sqlite_master WHERE name NOT LIKE 'sqlite%'"
        return {
            name: [kind, *made.execute(f"PRAGMA {kind}_xinfo({name})").fetchall()]
            for name, kind in made.execute(query).fetchall()
        }


def test_an_older_state_is_taken_over(older: Path) -> None:
    with closing(Store(older)) as store:
        done, running = store.subtasks()
        assert (done.result, done.config, done.task_id) == ({"total_counts": 2}, {"a": 1}, "whole")
        assert (done.created_at, done.started_at, done.ended_at) == (10.0, 12.0, 16.0)
        assert (running.requested, running.started_at, running.ended_at) == (2, 17.0, None)
        assert (running.dispatch, running.input_name) == ("none", "input.csv")
        assert [one.revision for one in (done, running)] == [1, 2]
        assert store.storage_secret == "kept"
        assert [event.number for event in store.events("done")] == [1, 2, 3]
        beat(store, "running")
        assert store.subtask("running").revision == 3


def test_an_older_state_gets_the_layout_of_a_new_one(older: Path) -> None:
    Store(older).close()
    Store(older / "new").close()
    assert layout(older) == layout(older / "new")


def test_a_newer_state_is_refused_in_one_line_and_left_alone(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "datahub.sqlite3")) as made:
        made.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(ConfigurationError, match="newer version") as refused:
        Store(tmp_path)
    assert len(refused.value.problems) == 1
    assert "\n" not in str(refused.value)


def test_several_may_open_an_older_state_at_once(older: Path) -> None:
    opened: list[int] = []

    def open_it() -> None:
        with closing(Store(older)) as store:
            opened.append(len(store.subtasks()))

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [2] * 8


def test_reading_waits_for_no_writer(store: Store) -> None:
    store.create_subtask("a")
    with store.database.transaction() as sql:
        sql.execute("UPDATE subtasks SET progress = 7")
        assert store.subtask("a").progress == 0
        assert store.page_of_subtasks().total == 1
        assert store.notified_status("a") is TaskStatus.INITIAL
    assert store.subtask("a").progress == 7


def test_a_reader_cannot_write(store: Store) -> None:
    with store.database.reading() as sql, pytest.raises(sqlite3.OperationalError):
        sql.execute("DELETE FROM subtasks")


def test_a_closed_state_is_not_read(tmp_path: Path) -> None:
    database = Database(tmp_path / "x")
    with database.reading():
        database.close()
    with pytest.raises(sqlite3.ProgrammingError), database.reading():
        pass


def test_pages_go_from_the_newest_to_the_oldest(store: Store) -> None:
    for number in range(7):
        store.create_subtask(f"s-{number}", config={"number": number})
    seen, before = list[str](), None
    while True:
        page = store.page_of_subtasks(before=before, limit=3)
        assert page.total == 7
        seen += [one.subtask_id for one in page.subtasks]
        before = page.next
        if before is None:
            break
    assert seen == [f"s-{number}" for number in reversed(range(7))]


def test_a_page_of_one_status_and_what_is_looked_for(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "50%_of IT.csv"
    source.write_bytes(b"abc")
    store.create_subtask("plain")
    made = store.create_subtask("b", task_id="Whole", input=source)
    assert (made.input_name, made.input_size) == ("50%_of IT.csv", 3)
    store.create_subtask("c", assignment=Assignment("thumbnails", "http://127.0.0.1:1"))
    report(store, "b", 1)

    def found(**asked: object) -> list[str]:
        page = store.page_of_subtasks(**asked)  # type: ignore[arg-type]  # each is one of its own
        assert page.total == len(page.subtasks)
        return [one.subtask_id for one in page.subtasks]

    assert found(status=TaskStatus.RUNNING) == ["b"]
    assert found(search="whole") == ["b"]
    assert found(search="0%_o") == ["b"]
    assert found(search="_") == ["b"]
    assert found(search="%%") == found(search="\\") == []
    assert found(search="thumb") == ["c"]
    assert found(search="thumb", status=TaskStatus.RUNNING) == []
    assert store.counts() == dict.fromkeys(TaskStatus, 0) | {0: 2, 1: 1}


def test_changes_are_found_by_revision(store: Store) -> None:
    assert store.revision == 0
    store.create_subtask("a")
    store.create_subtask("b")
    assert [one.subtask_id for one in store.changed_since(0)] == ["a", "b"]
    revision = store.revision
    report(store, "a", 1)
    beat(store, "a")
    (changed,) = store.changed_since(revision)
    assert (changed.subtask_id, changed.progress, changed.result) == ("a", 50, None)
    finish(store, "a")
    assert store.changed_since(changed.revision)[0].status is TaskStatus.COMPLETED
    assert store.changed_since(store.revision) == []
    assert len(store.changed_since(0, limit=1)) == 1


def test_a_revision_is_never_given_twice(store: Store) -> None:
    seen: list[int] = []
    for number in range(5):
        store.create_subtask(f"s-{number}")
        report(store, f"s-{number}", 1)
        seen.append(store.subtask(f"s-{number}").revision)
        beat(store, "s-0")
        seen.append(store.subtask("s-0").revision)
    assert seen == sorted(set(seen))


def test_when_it_began_and_ended(store: Store) -> None:
    made = store.create_subtask("a")
    assert (made.started_at, made.ended_at) == (None, None)
    for status in (1, 2, 1, 4):
        report(store, "a", status)
    ended = store.subtask("a")
    times = [ended.created_at, ended.started_at or 0, ended.ended_at or 0]
    assert times == sorted(times)
    assert times[1] == pytest.approx(store.events("a")[0].at, abs=1)


def test_events_from_a_number_on(store: Store) -> None:
    store.create_subtask("a")
    report(store, "a", 1)
    store.add_event("a", "fault", {"rule": "delay"})
    first, second = store.events("a")
    assert store.events("a", first.number) == [second]
    assert store.events("a", limit=1) == [first]
    assert store.events("a", second.number) == []


def test_of_heartbeats_only_the_newest_are_kept(store: Store) -> None:
    store.create_subtask("a")
    report(store, "a", 1)
    for _ in range(3 * HEARTBEATS_KEPT):
        beat(store, "a")
    kept = store.events("a")
    assert kept[0].kind == "status"
    assert HEARTBEATS_KEPT < len(kept) < 3 * HEARTBEATS_KEPT
    newest = kept[-1].number
    finish(store, "a")
    ended = store.events("a")
    assert [ended[0].kind, ended[-1].kind] == ["status", "result"]
    assert ended[-2].number == newest
    assert len(ended) == HEARTBEATS_KEPT_OF_ENDED + 2


def test_log_lines_are_kept_for_people(store: Store) -> None:
    store.create_subtask("a")
    line = LogLine(1.5, "INFO", "plugin", "<b>x</b>\n\u00fc")
    store.add_logs("a", [line, LogLine(2.0, "DEBUG", "", "x" * (LONGEST_LINE + 5))])
    first, second = store.logs("a")
    assert (first.at, first.level, first.logger, first.message) == (
        1.5,
        "INFO",
        "plugin",
        line.message,
    )
    assert len(second.message) == LONGEST_LINE + 3
    assert store.logs("a", first.number) == [second]
    store.add_logs("a", [LogLine(3.0, "INFO", "", str(number)) for number in range(LINES_KEPT)])
    assert [one.message for one in store.logs("a", limit=2)] == ["0", "1"]
    assert len(store.logs("a")) == LINES_KEPT


@pytest.mark.parametrize("order", ["before", "after"])
def test_the_newest_error_in_the_log_is_the_reason(store: Store, order: str) -> None:
    store.create_subtask("a")
    report(store, "a", 1)
    lines = [
        LogLine(1, "ERROR", "", "first"),
        LogLine(2, "ERROR", "", "the disk is full"),
        LogLine(3, "INFO", "", "ended"),
    ]
    for step in ("log", "fail") if order == "before" else ("fail", "log"):
        if step == "log":
            store.add_logs("a", lines)
        else:
            report(store, "a", TaskStatus.FAILED)
    assert store.subtask("a").reason == "the disk is full"
    store.add_logs("a", [LogLine(4, "ERROR", "", "late")])
    assert store.subtask("a").reason == "the disk is full"


def test_what_did_not_fail_has_no_reason(store: Store) -> None:
    store.create_subtask("a")
    report(store, "a", 1)
    store.add_logs("a", [LogLine(1, "ERROR", "", "went on all the same")])
    finish(store, "a")
    assert store.subtask("a").reason is None
    store.set_reason("a", "x" * 2000)
    assert len(store.subtask("a").reason or "") == 1000


def test_an_input_that_was_handed_in_is_for_any_number_of_subtasks(store: Store) -> None:
    writer = store.objects.writer()
    writer.write(b"content")
    given = store.inputs.add("in.csv", writer.finish())
    for name in ("a", "b"):
        made: Subtask = store.create_subtask(name, input=given.key)
        assert (made.input_name, made.input_size) == ("in.csv", 7)
        key, _ = store.input_of(name)
        assert store.objects.find(key).path.read_bytes() == b"content"
