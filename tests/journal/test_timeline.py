"""The timeline: what happened, in order, and nothing that must not be told."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from plugin_framework.journal.journal import Journal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Journal(tmp_path / "journal.sqlite3")) as opened:
        opened.start_attempt("s", task_id="t", plugin="p", config={})
        yield opened


def test_attempts_reports_and_notes_in_order(journal: Journal) -> None:
    report = journal.add_report("s", status=1, path="/api/task/update_status", body=b"{}")
    journal.settle_report(report.report_id, "delivered")
    journal.timeline.note("s", "transfer", direction="upload", name="a.csv", size=1, seconds=0.5)
    journal.start_attempt("s", task_id="t", plugin="p", config={})
    ending = {"error": "it broke"}
    report = journal.add_report(
        "s", status=5, path="/api/task/update_status", body=b"{}", outcome=ending
    )
    journal.settle_report(report.report_id, "refused")
    events = journal.timeline.events("s")
    assert [(one.kind, one.detail) for one in events] == [
        ("attempt", {"attempt": 1}),
        ("report", {"status": 1, "of": "update_status"}),
        ("delivered", {"status": 1, "of": "update_status"}),
        ("transfer", {"direction": "upload", "name": "a.csv", "size": 1, "seconds": 0.5}),
        ("attempt", {"attempt": 2}),
        ("report", {"status": 5, "of": "update_status", "error": "it broke"}),
        ("refused", {"status": 5, "of": "update_status"}),
    ]
    assert [one.at for one in events] == sorted(one.at for one in events)


def test_what_recurs_is_one_row_for_each_attempt(journal: Journal) -> None:
    for _ in range(5):
        journal.timeline.count("s", "heartbeats")
    journal.start_attempt("s", task_id="t", plugin="p", config={})
    threads = [
        threading.Thread(target=journal.timeline.count, args=("s", "heartbeats")) for _ in range(4)
    ]
    for thread in threads[:1]:
        thread.start()
        thread.join()
    for thread in threads[1:]:
        thread.start()
    for thread in threads[1:]:
        thread.join()
    beats = [one for one in journal.timeline.events("s") if one.kind == "heartbeats"]
    assert [one.detail["count"] for one in beats] == [5, 4]
    assert all(one.at <= one.detail["last"] for one in beats)


def test_no_address_and_no_endless_text(journal: Journal) -> None:
    url = "https://user:pass@storage.example.com/a?X-Sig=abc"
    journal.timeline.note("s", "undelivered", error=f"PUT {url} failed " + "x" * 9000)
    journal.add_report("s", status=5, path="/x", body=b"", outcome={"error": f"at {url}"})
    events = journal.timeline.events("s")
    kept = repr(events)
    assert "X-Sig" not in kept
    assert "example.com" not in kept
    assert len(kept) < 2000
    stored = journal._db._connection.execute("SELECT detail FROM events").fetchall()
    assert "X-Sig" not in repr(stored)


def test_a_subtask_that_is_not_known_is_dropped(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    journal.timeline.note("other", "stalled", seconds=1)
    journal.timeline.count("other", "heartbeats")
    assert journal.timeline.events("other") == []
    assert caplog.records == []


def test_what_cannot_be_written_is_logged_and_no_more(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    journal.close()
    journal.timeline.note("s", "stalled", seconds=1)
    journal.timeline.count("s", "heartbeats")
    assert [one.levelno for one in caplog.records] == [logging.WARNING]
    assert "misses an event" in caplog.text


def test_what_an_undone_first_attempt_noted_goes_with_it(journal: Journal) -> None:
    journal.timeline.note("s", "stalled", seconds=1)
    journal.forget_attempt("s", 1)
    assert journal.timeline.events("s") == []


def test_records_say_what_is_left(journal: Journal) -> None:
    first = journal.add_report("s", status=1, path="/s", body=b"")
    record = journal.records.find("s")
    assert record is not None
    assert (record.state, record.status, record.pending, record.why) == ("undelivered", 1, 1, None)
    journal.timeline.note("s", "undelivered", error="no connection")
    assert journal.records.all()[0].why == "no connection"
    assert journal.records.all()[0].tries == 1
    journal.settle_report(first.report_id, "delivered")
    assert journal.records.all()[0].state == "unfinished"
    last = journal.add_report("s", status=3, path="/r", body=b"", outcome={"error": None})
    journal.settle_report(last.report_id, "refused")
    assert journal.records.all()[0].state == "refused"
    assert journal.records.find("other") is None
