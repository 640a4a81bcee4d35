"""Counts, percentiles and the limit."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_framework.emulator.bench.figures import Flight, Spread, limit
from plugin_framework.emulator.bench.ledger import Task
from plugin_framework.emulator.bench.table import duration, lines
from plugin_framework.protocol.models import TaskStatus
from tests.emulator.bench.made import BEGAN, figures, refused, slots, task

SECONDS = st.floats(0, 1e6)


@given(st.lists(SECONDS, min_size=1))
def test_percentiles_were_measured_and_have_as_many_below(times: list[float]) -> None:
    spread = Spread.of(times)
    assert spread is not None
    for share, value in ((0.5, spread.p50), (0.9, spread.p90), (0.99, spread.p99)):
        assert value in times
        assert sum(x <= value for x in times) >= share * len(times)
        assert sum(x < value for x in times) < share * len(times) + 1e-9
    assert spread.longest == max(times)


def test_nothing_has_no_percentiles() -> None:
    assert Spread.of([]) is None


def test_each_task_is_counted_once() -> None:
    made = figures(
        [
            task(0, wait=0.1, run=1),
            task(1, wait=0.1, run=1, status=TaskStatus.FAILED),
            task(2, wait=0.1, run=1, status=TaskStatus.CANCELLED),
            Task("waits", BEGAN + 3, BEGAN + 3.01, "accepted"),
            refused(4),
            refused(5, "refused"),
            refused(6, "none"),
            Task("never offered", BEGAN + 7),
        ]
    )
    assert made.counts == {
        "planned": 8,
        "offered": 7,
        "accepted": 4,
        "refused_busy": 1,
        "refused": 1,
        "unanswered": 1,
        "completed": 1,
        "failed": 1,
        "cancelled": 1,
        "unfinished": 1,
    }


def test_times_count_from_when_the_task_was_due() -> None:
    made = figures([task(0, wait=2, run=3), task(1, wait=4, run=3)])
    assert made.times["wait"] == pytest.approx([2, 4])
    assert made.times["run"] == pytest.approx([3, 3])
    assert made.times["result"] == pytest.approx([5, 7])
    assert made.throughput == pytest.approx(2 / 8)


def test_a_heartbeat_is_late_by_what_goes_over_the_interval() -> None:
    beating = task(0, wait=0, run=90)
    beating.beats = [BEGAN, BEGAN + 20, BEGAN + 55]
    assert figures([beating]).times["heartbeat_late"] == pytest.approx([0, 5])


def test_tasks_in_flight_are_followed_from_their_offer_to_their_end() -> None:
    made = figures([task(0, wait=1, run=2), task(2, wait=2, run=2)])
    assert list(made.flights) == [
        Flight(BEGAN, 1, 0),
        Flight(BEGAN + 1, 0, 1),
        Flight(BEGAN + 2, 1, 1),
        Flight(BEGAN + 3, 1, 0),
        Flight(BEGAN + 4, 0, 1),
        Flight(BEGAN + 6, 0, 0),
    ]
    assert (made.most_waiting, made.most_running) == (1, 1)


def test_the_limit_is_named() -> None:
    few = slots(20, rate=1, places=4, run=1)
    many = slots(100, rate=20, places=2, run=1)
    assert limit(figures(few)).startswith("Nothing was at its limit: each task started within 0.1")
    assert limit(figures(many)).startswith("Slots: 2 tasks ran at once, and never more")
    assert limit(figures(many, busy=0.95)).startswith("CPU: this machine's 2 cores were 95 % busy")
    assert limit(figures(many, busy=None)).startswith("Slots")
    full = limit(figures([*many, refused(9), refused(9)]))
    assert "2 more were refused because the queue was full" in full
    slow = slots(100, rate=20, places=2, run=0.01, start=2)
    assert limit(figures(slow)).startswith("Starting tasks took the time")


def test_those_that_wait_to_the_end_count_for_the_limit() -> None:
    left = [Task(f"left-{n}", BEGAN + 1, BEGAN + 1.01, "accepted") for n in range(50)]
    made = figures([task(0, wait=0.1, run=9), *left])
    assert made.waiting_still == pytest.approx([8.1] * 50)
    assert limit(made).startswith("Slots: 1 task ran at once, and never more, while up to 50")


def test_a_limit_that_cannot_be_told_has_the_reason() -> None:
    assert limit(figures([refused(0, "none")])).endswith("(HTTP 503: none).")
    assert limit(figures([Task("never offered", BEGAN)])).startswith("What limits it cannot be")


@pytest.mark.parametrize("tasks", [[], [refused(0)], [Task("never offered", BEGAN)]])
def test_nothing_at_all_is_shown_too(tasks: list[Task]) -> None:
    made = figures([*tasks, Task("never offered", BEGAN)])
    assert json.loads(json.dumps(made.as_json()))["completed"] == 0
    assert "completed 0" in next(lines(made))


def test_the_table_has_all_that_was_measured() -> None:
    shown = "\n".join(lines(figures(slots(10, rate=2, places=1, run=1), rate=2)))
    assert shown.startswith("offered 10   accepted 10   refused busy 0   completed 10   failed 0\n")
    for title in ("answer to create_task", "wait until status 1", "time to result"):
        assert title in shown
    assert "heartbeat late by              -" in shown
    assert shown.endswith(limit(figures(slots(10, rate=2, places=1, run=1), rate=2)))


def test_durations_are_read_by_people() -> None:
    assert [duration(x) for x in (0, 0.0123, 0.9994, 1, 3.456, 240.4)] == [
        "0 ms",
        "12 ms",
        "999 ms",
        "1.00 s",
        "3.46 s",
        "240 s",
    ]
