"""The queue of a service: in order, whole or not at all, and known again after a crash."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugin_framework.errors import JournalError
from plugin_framework.journal.journal import Journal
from plugin_framework.journal.queue import Accepted, Changes, Ended, Ending, Note


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


def told(subtask_id: str, status: int = 3, attempt: int = 1) -> Ended:
    """What a node has brought to its end, and Datahub knows."""
    outcome = {"error": None, "node": "n-1", "attempt": attempt}
    return Ended(subtask_id, status, "/api/task/result", b"{}", outcome, "delivered")


def state_of(journal: Journal, subtask_id: str) -> tuple[str, int, str | None]:
    record = journal.records.find(subtask_id)
    assert record is not None
    return record.state, record.attempts, record.why


def test_no_more_is_read_than_fits_but_always_one(journal: Journal) -> None:
    journal.queue.write(Changes(added=[accepted(n, f"s{n}") for n in (1, 2, 3)]))
    assert len(journal.queue.find_all(["s1", "s2", "s3"], size=10**6)) == 3
    assert [one.subtask_id for one in journal.queue.find_all(["s3", "s2"], size=8)] == ["s2", "s3"]
    assert [one.subtask_id for one in journal.queue.find_all(["s2", "s3"], size=1)] == ["s2"]


def test_what_happens_elsewhere_is_noted(journal: Journal) -> None:
    journal.queue.write(Changes(added=[accepted(1, "a")]))
    journal.queue.note([Note("a", "handed over"), Note("gone", "handed over")])
    assert state_of(journal, "a") == ("waiting", 0, None)
    assert journal.records.find("gone") is None
    journal.queue.note([Note("a", "taken", 1, "n-1")])
    assert state_of(journal, "a") == ("unfinished", 1, "attempt 1 runs on n-1")
    # The note that it was handed over may come late.
    journal.queue.note([Note("a", "handed over")])
    assert state_of(journal, "a")[0] == "unfinished"
    journal.queue.note([Note("a", "given back", 1)])
    assert state_of(journal, "a") == ("waiting", 1, None)
    assert [one.attempts for one in journal.queue.waiting()] == [1]
    kinds = [event.kind for event in journal.timeline.events("a")]
    assert kinds == ["accepted", "handed over", "taken", "handed over", "given back"]


def test_why_it_waits_is_of_its_plugin(journal: Journal) -> None:
    journal.queue.write(Changes(added=[accepted(1, "a")]))
    journal.queue.explain("counts", "nobody is there, see amqp://u:secret@broker/")
    journal.queue.explain("others", "it rains")
    journal.queue.write(Changes(added=[accepted(2, "b")]))
    expected = ("waiting", 0, "nobody is there, see ...")
    assert state_of(journal, "a") == state_of(journal, "b") == expected
    journal.queue.explain("counts", None)
    assert state_of(journal, "a") == ("waiting", 0, None)
    journal.queue.explain("counts", "it rains")
    journal.queue.forget_reasons()
    assert state_of(journal, "a") == ("waiting", 0, None)


def test_what_ended_elsewhere_needs_no_delivery(journal: Journal) -> None:
    journal.queue.write(Changes(added=[accepted(1, "a")]))
    journal.queue.write(Changes(ended=[told("a", attempt=2)]))
    assert list(journal.queue.undelivered()) == []
    assert state_of(journal, "a") == ("delivered", 2, None)
    last = journal.timeline.events("a")[-1]
    assert (last.kind, last.detail["attempt"]) == ("ended", 2)
    assert journal.queue.waiting() == []


def test_the_end_of_another_life_takes_the_place_of_the_first(journal: Journal) -> None:
    for number, status in ((1, 3), (2, 5)):
        journal.queue.write(Changes(added=[accepted(number, "a")]))
        ended = Ended("a", status, "/p", str(number).encode(), {"attempt": number}, "delivered")
        journal.queue.write(Changes(ended=[ended]))
        assert journal.queue.endings(["a"]) == {"a": Ending(status, delivered=True)}


def test_what_is_cancelled_in_another_life_is_reported(journal: Journal) -> None:
    journal.queue.write(Changes(added=[accepted(1, "a")]))
    journal.queue.write(Changes(ended=[told("a")]))
    journal.queue.write(Changes(added=[accepted(2, "a")]))
    journal.queue.write(Changes(ended=[cancelled("a")]))
    assert journal.queue.endings(["a"]) == {"a": Ending(4, delivered=False)}
    assert list(journal.queue.undelivered()) == ["a"]


def test_the_first_of_two_ends_that_are_to_be_reported_stands(journal: Journal) -> None:
    journal.queue.write(Changes(added=[accepted(1, "a")]))
    journal.queue.write(Changes(ended=[cancelled("a")]))
    failed = Ended("a", 5, "/api/task/update_status", b"{5}", {"error": "x"})
    journal.queue.write(Changes(ended=[failed]))
    assert journal.queue.endings(["a"]) == {"a": Ending(4, delivered=False)}
