"""A subtask of which nothing is heard is marked lost, and is found again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from plugin_framework.emulator import Refused, Store
from plugin_framework.emulator.platform import Platform
from plugin_framework.protocol.models import TaskStatus, UploadRequest
from tests.emulator.calling import eventually
from tests.emulator.platform.conftest import CREDENTIALS
from tests.emulator.platform.reporting import beat, finish, report

LOST_AFTER = 0.4


@pytest.fixture
def watching(store: Store) -> Iterator[Platform]:
    with Platform(store, CREDENTIALS, lost_after=LOST_AFTER) as platform:
        yield platform


@pytest.fixture
def lost(store: Store, watching: Platform) -> str:
    store.create_subtask("a")
    report(store, "a", 1)
    assert eventually(lambda: store.subtask("a").lost_at is not None)
    return "a"


def kinds(store: Store) -> list[str]:
    return [event.kind for event in store.events("a")]


def test_silence_is_a_mark_and_no_status(store: Store, lost: str) -> None:
    subtask = store.subtask(lost)
    assert subtask.status is TaskStatus.RUNNING
    assert kinds(store) == ["status", "lost"]
    assert store.events(lost)[-1].detail["seconds"] >= LOST_AFTER


def test_a_heartbeat_finds_it(store: Store, lost: str) -> None:
    beat(store, lost)
    assert kinds(store)[:4] == ["status", "lost", "found", "heartbeat"]


@pytest.mark.parametrize("end", ["result", "failed"])
def test_its_end_finds_it(store: Store, lost: str, end: str) -> None:
    if end == "result":
        finish(store, lost)
    else:
        report(store, lost, TaskStatus.FAILED)
    assert store.subtask(lost).lost_at is None
    assert kinds(store)[:3] == ["status", "lost", "found"]


def test_a_call_that_is_refused_finds_it(store: Store, lost: str) -> None:
    with pytest.raises(Refused):
        store.input_of(lost)
    with pytest.raises(Refused):
        report(store, lost, TaskStatus.COMPLETED)
    assert "found" in kinds(store)


def test_an_upload_finds_it(store: Store, lost: str) -> None:
    store.uploads.begin(UploadRequest(subtask_id=lost, file_name="x", file_size=1))
    assert kinds(store)[:4] == ["status", "lost", "found", "upload_init"]


def test_a_paused_subtask_is_lost_too_and_one_that_waits_or_has_ended_is_not(
    store: Store, watching: Platform
) -> None:
    for name, statuses in {"waits": [], "a": [1, 2], "ended": [1, 4]}.items():
        store.create_subtask(name)
        for status in statuses:
            report(store, name, status)
    assert eventually(lambda: store.subtask("a").lost_at is not None)
    assert [store.subtask(name).lost_at for name in ("waits", "ended")] == [None, None]


def test_it_is_marked_once(store: Store, lost: str) -> None:
    store.create_subtask("b")
    report(store, "b", 1)
    assert eventually(lambda: store.subtask("b").lost_at is not None)
    assert kinds(store) == ["status", "lost"]


def test_our_own_absence_loses_nobody(tmp_path: Path, store: Store) -> None:
    store.create_subtask("a")
    report(store, "a", 1)
    with store.database.transaction() as sql:
        sql.execute("UPDATE subtasks SET seen_at = seen_at - 1000")
    with Platform(store, CREDENTIALS, lost_after=60):
        store.create_subtask("b")
        assert store.subtask("a").lost_at is None
    with Platform(store, CREDENTIALS, lost_after=LOST_AFTER):
        assert eventually(lambda: store.subtask("a").lost_at is not None)
