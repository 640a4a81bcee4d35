"""The list of tasks is live, filtered, paged, and says when it is not live."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from plugin_framework.emulator import Emulator
from plugin_framework.protocol.models import Heartbeat, StatusUpdate, TaskStatus
from tests.emulator.page.screen import Screen

LIVE = 1000


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Emulator]:
    with Emulator(state_dir=tmp_path / "datahub") as running:
        yield running


@pytest.fixture
def alone(page: Page, empty: Emulator) -> Screen:
    """The page of an emulator without a task."""
    return Screen(page, empty.url)


def start(datahub: Emulator, subtask_id: str) -> None:
    report(datahub, subtask_id, TaskStatus.RUNNING)


def report(datahub: Emulator, subtask_id: str, status: TaskStatus) -> None:
    update = StatusUpdate(subtask_id=subtask_id, status=status)
    datahub.store.reports.update_status(update, f"{subtask_id} {status}".encode())


def beat(datahub: Emulator, subtask_id: str, percent: int) -> None:
    sent = Heartbeat(subtask_id=subtask_id, timestamp=int(time.time()), process=percent)
    datahub.store.reports.heartbeat(sent)


def beat_all(datahub: Emulator, percent: int) -> None:
    """A heartbeat of every task in the same moment."""
    with datahub.store.database.transaction() as sql:
        sql.execute(
            "UPDATE subtasks SET status = 1, progress = ?, heartbeat_at = ?", (percent, time.time())
        )


def test_tasks_come_and_change_while_one_looks(alone: Screen, empty: Emulator) -> None:
    alone.open()
    expect(alone.text("No tasks yet.")).to_be_visible()
    empty.store.create_subtask("one")
    expect(alone.row("one")).to_contain_text("Not started")
    empty.store.create_subtask("two")
    expect(alone.row("two")).to_be_visible()
    assert alone.page.locator("tbody .id").all_inner_texts() == ["two", "one"]
    start(empty, "one")
    beat(empty, "one", 37)
    expect(alone.row("one")).to_contain_text("Running")
    expect(alone.row("one").locator("progress")).to_have_js_property("value", 37)
    expect(alone.row("one").locator(".beat")).to_have_text(re.compile(r"^\d+\ss$"))
    expect(alone.page.locator("#said")).to_have_text("one: Running")


def test_filters_and_counts(alone: Screen, empty: Emulator) -> None:
    for name in ("red", "green", "blue"):
        empty.store.create_subtask(name)
    start(empty, "red")
    start(empty, "blue")
    report(empty, "blue", TaskStatus.FAILED)
    alone.open()
    expect(alone.button("Running 1")).to_be_visible()
    alone.button("Running 1").click()
    expect(alone.row("red")).to_be_visible()
    expect(alone.row("blue")).to_have_count(0)
    start(empty, "green")
    expect(alone.row("green")).to_be_visible()
    report(empty, "red", TaskStatus.CANCELLED)
    expect(alone.row("red")).to_have_count(0)
    alone.page.reload()
    expect(alone.button("Running 1")).to_have_attribute("aria-pressed", "true")
    alone.button("All 3").click()
    alone.field("Search tasks").fill("lu")
    expect(alone.row("blue")).to_be_visible()
    expect(alone.row("red")).to_have_count(0)
    alone.field("Search tasks").fill("no such task")
    expect(alone.text("No task matches.")).to_be_visible()


def test_a_task_of_which_nothing_is_heard_is_marked_as_lost(page: Page, tmp_path: Path) -> None:
    with Emulator(state_dir=tmp_path / "datahub", lost_after=1) as datahub:
        datahub.store.create_subtask("silent")
        start(datahub, "silent")
        screen = Screen(page, datahub.url)
        screen.open_task("silent")
        expect(screen.badge).to_have_text("Lost")
        expect(page.locator(".callout")).to_contain_text("Lost")
        expect(page.locator(".timeline .mark.lost")).to_have_count(1)
        screen.open()
        expect(screen.row("silent")).to_contain_text("Lost")
        beat(datahub, "silent", 5)
        expect(screen.row("silent")).to_contain_text("Running")


def test_a_lost_connection_is_told_and_made_again(
    alone: Screen, empty: Emulator, tmp_path: Path
) -> None:
    empty.store.create_subtask("before")
    alone.open()
    expect(alone.row("before")).to_be_visible()
    banner = alone.page.locator("#banner")
    expect(banner).to_be_hidden()
    empty.stop()
    expect(banner).to_contain_text("The connection to the emulator is lost")
    empty.store.create_subtask("while it was away")
    port = int(empty.url.rpartition(":")[2])
    with Emulator(state_dir=tmp_path / "datahub", port=port):
        alone.button("Try now").click()
        expect(banner).to_be_hidden()
        expect(alone.row("while it was away")).to_be_visible()


@pytest.mark.long
def test_a_thousand_live_tasks(alone: Screen, empty: Emulator) -> None:
    """All of them can be looked at, change in place, and leave the page its time."""
    for number in range(LIVE):
        empty.store.create_subtask(f"task-{number}")
    beat_all(empty, 10)
    alone.open()
    rows = alone.page.locator("tbody tr")
    expect(rows).to_have_count(200)
    for shown in range(400, LIVE + 1, 200):
        alone.button("Show older tasks").click()
        expect(rows).to_have_count(shown)
    expect(alone.button("Show older tasks")).to_be_hidden()
    alone.page.evaluate(WATCH)
    alone.page.evaluate("document.querySelector('tbody tr').seen = true")
    beat_all(empty, 20)
    expect(rows.last.locator("progress")).to_have_js_property("value", 20)
    expect(rows.first.locator("progress")).to_have_js_property("value", 20)
    assert alone.page.evaluate("document.querySelector('tbody tr').seen"), "the row is another"
    alone.field("Search tasks").fill("task-77")
    expect(rows).to_have_count(11)
    assert alone.page.evaluate("longest") < 5000, "milliseconds for which the page was stuck"


# Notes the longest time in which the page could do nothing else.
WATCH = """() => {
  globalThis.longest = 0;
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) longest = Math.max(longest, duration);
  }).observe({ type: "longtask" });
}"""
