"""One task's page follows it, and asks the plugin for what people want."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from playwright.sync_api import expect

from plugin_framework.emulator import Emulator
from plugin_framework.emulator.subtasks import record
from tests.emulator.calling import Plugin
from tests.emulator.page.screen import Screen
from tests.service.calling import KEY, SECRET, ServiceProcess


@pytest.fixture
def waiting(screen: Screen, service: ServiceProcess, tmp_path: Path) -> str:
    """A task that runs until the file ``until`` is there; its page is open."""
    screen.call("POST", "/local/services", {"url": service.url})
    config = {"until": str(tmp_path / "until")}
    task = screen.call("POST", "/local/tasks", {"plugin": "Waits", "config": config})
    screen.open_task(task["subtask_id"])
    expect(screen.badge).to_have_text("Running")
    return str(task["subtask_id"])


@pytest.fixture
def plugin(datahub: Emulator) -> Plugin:
    """A plugin that does what the test says."""
    return Plugin(datahub.url, KEY, SECRET)


def test_pause_and_resume(screen: Screen, waiting: str, tmp_path: Path) -> None:
    expect(screen.button("Resume")).to_be_disabled()
    screen.button("Pause").click()
    expect(screen.badge).to_have_text("Paused")
    expect(screen.button("Pause")).to_be_disabled()
    screen.button("Resume").click()
    expect(screen.badge).to_have_text("Running")
    (tmp_path / "until").touch()
    expect(screen.badge).to_have_text("Completed")
    for name in ("Pause", "Resume", "Cancel"):
        expect(screen.button(name)).to_be_disabled()


def test_cancel(screen: Screen, waiting: str) -> None:
    screen.button("Cancel").click()
    expect(screen.badge).to_have_text("Cancelled")


def test_what_is_asked_and_not_confirmed_is_shown(
    screen: Screen, datahub: Emulator, plugin: Plugin
) -> None:
    datahub.store.create_subtask("slow to obey")
    plugin.status("slow to obey", 1)
    screen.open_task("slow to obey")
    screen.button("Pause").focus()
    screen.page.keyboard.press("Enter")
    asked = screen.page.locator(".asked-note")
    expect(asked).to_have_text("pause asked, not confirmed by the plugin yet")
    expect(screen.badge).to_have_text("Running")
    assert screen.page.evaluate("document.activeElement.innerText") == "Pause"
    screen.button("Resume").click()  # takes it back
    expect(asked).to_have_text("")
    screen.button("Pause").click()
    expect(asked).not_to_have_text("")
    plugin.status("slow to obey", 2)
    expect(screen.badge).to_have_text("Paused")
    expect(asked).to_have_text("")
    expect(screen.page.locator("#said")).to_have_text("Paused")


def test_the_reason_of_a_failure_is_seen(screen: Screen, service: ServiceProcess) -> None:
    screen.call("POST", "/local/services", {"url": service.url})
    given = {"plugin": "Breaks", "config": {"why": "the cat sat on it"}}
    subtask = screen.call("POST", "/local/tasks", given)["subtask_id"]
    screen.open_task(subtask)
    expect(screen.badge).to_have_text("Failed")
    screen.log(subtask, "ERROR", "failed: the cat sat on it", time.time())
    expect(screen.page.locator(".callout")).to_have_text("Why it failedfailed: the cat sat on it")
    screen.open()
    expect(screen.row(subtask)).to_contain_text("failed: the cat sat on it")


def test_logs_come_live_and_are_filtered_by_level(screen: Screen, datahub: Emulator) -> None:
    datahub.store.create_subtask("talks")
    screen.log("talks", "INFO", "first", 1.0)
    screen.open_task("talks")
    expect(screen.text("first")).to_be_visible()
    screen.log("talks", "WARNING", "second", 2.0)
    screen.log("talks", "DEBUG", "third", 3.0)
    expect(screen.text("third")).to_be_visible()
    assert screen.page.locator(".line .message").all_inner_texts() == ["first", "second", "third"]
    screen.field("Least level").select_option("Warning and above")
    expect(screen.text("first")).to_be_hidden()
    expect(screen.text("second")).to_be_visible()


def test_progress_heartbeats_and_rates_are_live(
    screen: Screen, datahub: Emulator, plugin: Plugin
) -> None:
    datahub.store.create_subtask("beats")
    screen.open_task("beats")
    expect(screen.badge).to_have_text("Not started")
    plugin.status("beats", 1)
    plugin.beat("beats", process=42)
    expect(screen.page.locator(".line-of progress")).to_have_js_property("value", 42)
    expect(screen.section("Facts")).to_contain_text("ago")
    expect(screen.page.locator("#said")).to_have_text("Running")
    plugin.upload("beats", b"x" * 100_000, "out.bin")
    expect(screen.section("Outputs")).to_contain_text("out.bin")
    expect(screen.page.locator(".timeline .bar.put")).to_have_count(1)
    plugin.beat("beats", process=43)
    expect(screen.page.locator(".line-of progress")).to_have_js_property("value", 43)
    assert "43" not in screen.page.locator("#said").inner_text(), "no word about heartbeats"


def test_a_task_that_is_not_there_says_so(screen: Screen) -> None:
    screen.open("tasks/nobody")
    expect(screen.page.locator(".problem").first).to_have_text("there is no such task")


def test_many_events_are_drawn_and_told(screen: Screen, datahub: Emulator) -> None:
    datahub.store.create_subtask("much")
    with datahub.store.database.transaction() as sql:
        for percent in range(1100):  # more than one answer holds
            record(sql, "much", "get", {"name": f"file {percent}", "bytes": 1, "seconds": 0.1})
    kept = len(datahub.store.events("much"))
    assert kept > 1000
    screen.open_task("much")
    expect(screen.page.locator(".timeline .bar")).to_have_count(kept)
    screen.unfold("Events as a table")
    rows = screen.page.locator(".events tbody tr")
    expect(rows).to_have_count(500)
    screen.page.get_by_role("button", name="earlier events").click()
    expect(rows).to_have_count(kept)


# No number at all, and those that are no time of the calendar: a log line can say anything.
ODD = "[1e300, -1e300, NaN, Infinity, null, undefined, 'text', 8.64e12 + 1]"


def test_nothing_that_is_shown_as_a_number_or_time_can_end_the_view(screen: Screen) -> None:
    screen.open()
    said = screen.page.evaluate(f"""async () => {{
      const format = await import("/page/format.js");
      const {{ iso, moment, clock, bytes, rate, duration, age, plural }} = format;
      const all = [iso, moment, clock, bytes, rate, duration, age, (one) => plural(one, "file")];
      {ODD}.map((odd) => all.map((shown) => shown(odd)));
      return {ODD}.map((odd) => [iso(odd), clock(odd), moment(odd)]);
    }}""")
    assert said == [[None, "?", "?"]] * 8
