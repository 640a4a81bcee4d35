"""The queue of a service: in order, whole or not at all, and known again after a crash."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugin_framework.errors import JournalError
from plugin_framework.journal.journal import Journal
from plugin_framework.journal.queue import Accepted, Changes, Ended, Ending


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal.sqlite3")
    yield opened
    opened.close()


def accepted(place: int, subtask_id: str) -> Accepted:
    return Accepted(place, subtask_id, "t-1", "counts", '{"a": 1}')


def cancelled(subtask_id: str) -> Ended:
    return Ended(subtask_id, 4, "/api/task/update_status", b"{}", {"error": None})


def test_it_is_read_in_order_and_by_name(journal: Journal) -> None:
    journal.queue.write(Changes(added=[accepted(2, "b"), accepted(1, "a")]))
    assert [one.subtask_id for one in journal.queue.waiting()] == ["a", "b"]
    assert journal.queue.find("b") == accepted(2, "b")
    assert journal.queue.find("c") is None
    journal.queue.write(Changes(removed=["a"], wanted=[("b", 2)]))
    assert [(one.subtask_id, one.wanted) for one in journal.queue.waiting()] == [("b", 2)]


def test_it_says_what_was_begun(journal: Journal) -> None:
    journal.queue.write(Changes(added=[accepted(1, "a"), accepted(2, "b")]))
    journal.start_attempt("b", task_id=None, plugin="counts", config={})
    assert [one.attempts for one in journal.queue.waiting()] == [0, 1]


def test_changes_are_made_together_or_not_at_all(journal: Journal) -> None:
    journal.queue.write(Changes(added=[accepted(1, "a")]))
    with pytest.raises(JournalError):
        journal.queue.write(Changes(added=[accepted(2, "b"), accepted(3, "a")], calls=[7]))
    assert [one.subtask_id for one in journal.queue.waiting()] == ["a"]
    assert journal.queue.calls() == []
    # What is removed makes room for what is added with it.
    journal.queue.write(Changes(added=[accepted(2, "a")], removed=["a"]))
    assert [one.place for one in journal.queue.waiting()] == [2]


def test_the_end_of_what_never_ran_is_there_to_be_delivered(journal: Journal) -> None:
    journal.queue.write(Changes(added=[accepted(1, "a")]))
    journal.queue.write(Changes(ended=[cancelled("a")]))
    assert journal.queue.waiting() == []
    assert journal.queue.endings(["a", "b"]) == {"a": Ending(4, delivered=False)}
    assert list(journal.queue.undelivered()) == ["a"]
    (report,) = journal.pending_reports("a")
    assert (report.status, report.body) == (4, b"{}")
    journal.settle_report(report.report_id, "delivered")
    assert list(journal.queue.undelivered()) == []


def test_calls_are_remembered_for_a_while(journal: Journal) -> None:
    journal.queue.write(Changes(calls=[1, -(2**63), 2**63 - 1]))
    journal.queue.write(Changes(calls=[1]))
    journal.queue.forget_calls(time.time() - 60)
    kept = journal.queue.calls()
    assert sorted(number for number, _ in kept) == [-(2**63), 1, 2**63 - 1]
    journal.queue.forget_calls(time.time() + 60)
    assert journal.queue.calls() == []
