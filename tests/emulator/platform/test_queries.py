"""What is asked of the state stays quick however much is in it."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from plugin_framework.emulator import Refused, Store, database
from plugin_framework.emulator.logs import LogLine
from plugin_framework.emulator.platform import Platform
from plugin_framework.emulator.subtasks import mark_lost
from plugin_framework.protocol.models import (
    CompletedPart,
    TaskStatus,
    UploadCompletion,
    UploadRequest,
)
from tests.emulator.calling import eventually
from tests.emulator.platform.reporting import beat, finish, report
from tests.emulator.platform.services import ScriptedService

TABLES = "subtasks|events|logs|uploads|parts|objects|inputs"


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """All that is sent to SQLite, with its values; for stores that are opened from now on."""
    seen: set[str] = set()
    connect = database._connect

    def traced(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.set_trace_callback(seen.add)
        return connection

    monkeypatch.setattr(database, "_connect", traced)
    return seen


@pytest.fixture
def traced(statements: set[str], tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "datahub")) as store:
        statements.clear()
        yield store


def work(store: Store, tmp_path: Path) -> None:
    """Every kind of question but a search for part of a name."""
    source = tmp_path / "input"
    source.write_bytes(b"x")
    store.create_subtask("a", task_id="whole", input=source)
    report(store, "a", 1)
    beat(store, "a")
    store.input_of("a")
    for name in ("a", "whole"):
        store.notified_status(name)
    upload = store.uploads.begin(UploadRequest(subtask_id="a", file_name="x", file_size=1))
    parts = (CompletedPart(index=1, etag="x"),)
    ended = UploadCompletion(upload_id=upload.upload_id, subtask_id="a", parts=parts)
    with pytest.raises(Refused):
        store.uploads.complete(ended)
    store.set_status("a", TaskStatus.PAUSED)
    store.add_logs("a", [LogLine(1, "ERROR", "", "x")])
    with store.database.transaction() as sql:
        mark_lost(sql, 1, 10)
    finish(store, "a")
    for status in (None, TaskStatus.RUNNING):
        store.page_of_subtasks(status=status, limit=5)
        store.page_of_subtasks(status=status, before=10, limit=5)
    store.counts()
    store.changed_since(store.revision)
    store.events("a", 3)
    store.logs("a", 3)
    store.outputs("a")


def test_nothing_reads_a_whole_table(
    statements: set[str], traced: Store, tmp_path: Path, service: ScriptedService
) -> None:
    with Platform(traced, None) as platform:
        work(traced, tmp_path)
        with pytest.raises(Refused):
            platform.add_service(service.url)
        platform.expect_service(service.url)
    asked = {one for one in statements if re.match(r"\s*(SELECT|UPDATE|DELETE|INSERT)", one)}
    assert len(asked) > 20
    with traced.database.reading() as sql:
        plans = {
            (one, row["detail"])
            for one in asked
            for row in sql.execute(f"EXPLAIN QUERY PLAN {one}")
        }
    first_page = "WHERE 1 ORDER BY number DESC LIMIT"  # which ends after so many rows
    slow = re.compile(rf"SCAN ({TABLES})(?! USING)")
    found = [(one, plan) for one, plan in plans if slow.match(plan) and first_page not in one]
    assert found == []


def run(store: Store, names: list[str]) -> None:
    """As their plugins would."""
    for name in names:
        report(store, name, 1)
    for progress in range(10):
        for name in names:
            beat(store, name, progress * 10)
    for name in names:
        finish(store, name)


class Follower:
    """Knows of each subtask what the page knows: it asks for what has changed since."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._revision = 0
        self.seen: dict[str, TaskStatus] = {}

    def has_seen(self, names: list[str]) -> bool:
        """Whether all of these have completed, as far as it was told."""
        for one in self._store.changed_since(self._revision, limit=7):
            assert one.revision > self._revision
            self._revision, self.seen[one.subtask_id] = one.revision, one.status
        return all(self.seen.get(name) is TaskStatus.COMPLETED for name in names)


def test_many_writers_lose_nothing(store: Store, tmp_path: Path) -> None:
    """Threads of this process, and another connection as another process has one."""
    names = [f"s-{number}" for number in range(40)]
    for name in names:
        store.create_subtask(name)
    with closing(Store(tmp_path / "datahub")) as other:
        threads = [
            threading.Thread(target=run, args=(other if place % 2 else store, names[place::4]))
            for place in range(4)
        ]
        for thread in threads:
            thread.start()
        follower = Follower(store)
        assert eventually(lambda: follower.has_seen(names), 60)
        for thread in threads:
            thread.join()
    for name in names:
        kinds = [event.kind for event in store.events(name)]
        assert kinds == ["status", *["heartbeat"] * 10, "result"]
    assert store.counts()[TaskStatus.COMPLETED] == len(names)
