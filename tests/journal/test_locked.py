"""A journal that another process has locked: a bounded wait, one clear error, and others go on."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from plugin_framework import run_task
from plugin_framework.errors import JournalError
from plugin_framework.journal.journal import Journal
from plugin_framework.lifecycle.room import wait_for_room
from tests.journal.plugins import Waits
from tests.lifecycle.running import SUBTASK, Background, eventually, finish, settings_for, start
from tests.strict_datahub import StrictDatahub

HOLDER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute(f"PRAGMA locking_mode = {sys.argv[2]}")
db.execute("BEGIN EXCLUSIVE")
db.execute("PRAGMA user_version").fetchone()
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugin_framework.journal.database.BUSY_SECONDS", 0.5)
    monkeypatch.setattr("plugin_framework.journal.database.NOTE_SECONDS", 0.1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite3"


@contextmanager
def held(path: Path, mode: str = "NORMAL") -> Iterator[None]:
    """Another process keeps everybody from writing; in mode EXCLUSIVE, from reading, too."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            yield
        finally:
            holder.communicate("\n", timeout=60)


def test_it_cannot_be_opened(path: Path) -> None:
    with closing(Journal(path)) as journal:
        journal.start_attempt("s", task_id=None, plugin="p", config={})
    with held(path, "EXCLUSIVE"):
        with pytest.raises(JournalError, match=r"is locked, and was for 0\.5 s") as caught:
            Journal(path)
        assert "\n" not in str(caught.value)
        assert "free some disk" not in str(caught.value)
    with closing(Journal(path)) as journal:
        assert journal.records.find("s") is not None
    assert list(path.parent.glob("*.corrupt-*")) == []


def test_nothing_is_removed_to_make_room_where_there_is_room(path: Path) -> None:
    removed: list[str] = []
    with closing(Journal(path)) as journal:
        journal.start_attempt("s", task_id=None, plugin="p", config={})
        with held(path), pytest.raises(JournalError, match="is locked"):
            wait_for_room(
                lambda: journal.save_state("s", {}),
                "it",
                patience=1,
                ended=lambda _: True,
                make_room=lambda: removed.append("all"),
            )
    assert removed == []


def test_it_is_opened_to_read_while_another_writes(path: Path) -> None:
    with closing(Journal(path)) as journal:
        journal.start_attempt("s", task_id=None, plugin="p", config={})
    with held(path), closing(Journal(path)) as journal:
        assert journal.records.find("s") is not None


def test_to_hurry_ends_a_wait_that_has_begun(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("plugin_framework.journal.database.BUSY_SECONDS", 600)
    monkeypatch.setattr("plugin_framework.journal.database.NOTE_SECONDS", 600)
    with closing(Journal(path)) as journal:
        journal.start_attempt("s", task_id=None, plugin="p", config={})
        with held(path), ThreadPoolExecutor() as pool:
            waits = [pool.submit(journal.save_state, "s", {"line": line}) for line in (1, 2)]
            journal.hurry(0)
            for wait in waits:
                with pytest.raises(JournalError, match="is locked"):
                    wait.result(60)
            journal.timeline.note("s", "signal")
        assert "misses an event" in caplog.text
        journal.save_state("s", {"line": 3})


def test_that_events_are_missed_is_said_once_until_they_are_not(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Journal(path)) as journal:
        journal.start_attempt("s", task_id=None, plugin="p", config={})
        for _ in range(2):
            caplog.clear()
            with held(path):
                for _ in range(3):
                    journal.timeline.count("s", "heartbeats")
            assert [record.levelno for record in caplog.records].count(logging.WARNING) == 1
            journal.timeline.count("s", "heartbeats")
        (event,) = [one for one in journal.timeline.events("s") if one.kind == "heartbeats"]
        assert event.detail["count"] == 2


def test_a_signal_is_obeyed_in_time(path: Path) -> None:
    """What is lost then is what the journal would have kept; the report of it arrives."""
    with StrictDatahub(SUBTASK) as hub:
        command = start(Waits, hub, path.parent, on_shutdown="fail", grace_seconds=0.5)
        try:
            hub.wait_for(lambda: hub.heartbeats)
            with held(path):
                command.terminate()
                code, outcome, said = finish(command, 25)  # one wait alone would be 30 s
        finally:
            command.kill()
        assert (code, outcome["status"], outcome["delivered"]) == (1, 5, True), said
        assert "LOST" not in said
        assert hub.statuses == [1, 5]
        assert hub.violations == []


def test_a_result_that_waits_is_sent_after_a_signal(path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        command = start(Waits, hub, path.parent, delivery_deadline=600, grace_seconds=0.5)
        try:
            hub.wait_for(lambda: hub.heartbeats)
            with held(path):
                (path.parent / "go").touch()
                eventually((path.parent / "over").exists)
                beats = len(hub.heartbeats)
                hub.wait_for(lambda: len(hub.heartbeats) > beats + 1, timeout=60)
                command.terminate()
                code, outcome, said = finish(command, 25)
        finally:
            command.kill()
        assert (code, outcome["status"], outcome["delivered"]) == (0, 3, True), said
        assert "LOST" not in said
        assert hub.statuses == [1, 3]
        assert hub.violations == []


def test_it_cannot_be_written_and_can_be_read(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(Journal(path)) as journal:
        journal.start_attempt("s", task_id=None, plugin="p", config={})
        with held(path):
            with pytest.raises(JournalError, match="is locked"):
                journal.save_state("s", {"line": 1})
            assert journal.records.find("s") is not None
            journal.timeline.note("s", "stalled", seconds=1)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "misses an event: the journal" in record.getMessage()
        journal.save_state("s", {"line": 2})
        assert journal.start_attempt("s", task_id=None, plugin="p", config={}) == (2, {"line": 2})


def test_a_thread_waits_no_longer_for_another_that_waits(path: Path) -> None:
    with closing(Journal(path)) as journal:
        journal.start_attempt("s", task_id=None, plugin="p", config={})
        entered, leave = threading.Event(), threading.Event()

        def write() -> None:
            with journal._db.write():
                entered.set()
                leave.wait(60)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            assert entered.wait(60)
            with pytest.raises(JournalError, match="is locked"):
                journal.save_state("s", {})
        finally:
            leave.set()
            writer.join()
        journal.save_state("s", {})


def test_other_subtasks_go_on(path: Path) -> None:
    state = path.parent
    with StrictDatahub(SUBTASK) as hub, Background(Waits, hub, state) as running:
        hub.wait_for(lambda: hub.heartbeats)
        with held(path):
            settings = settings_for(hub, state)
            with pytest.raises(JournalError, match="is locked"):
                run_task(Waits, subtask_id="another", settings=settings)
            beats = len(hub.heartbeats)
            hub.wait_for(lambda: len(hub.heartbeats) > beats + 2)
        (state / "go").touch()
        assert running.ended.exit_code == 0
        assert hub.statuses == [1, 3]
        assert hub.violations == []
