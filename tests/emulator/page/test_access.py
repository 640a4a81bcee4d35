"""The page is for everybody: keyboards, screen readers, small windows, dark rooms."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import expect

from plugin_framework.emulator import Emulator
from tests.emulator.calling import Plugin
from tests.emulator.page.screen import Screen
from tests.service.calling import KEY, SECRET, ServiceProcess

VIEWS = ("", "tasks/shown", "tasks/broken", "new", "faults")
RESULT = {
    "total_counts": 2,
    "rows": [{"city": "Oslo", "price": 12}, {"city": "Bergen", "price": None}],
    "source": {"name": "a" * 200, "sizes": list(range(60))},
    "texts": ["a long text " * 20, "another"],
}


@pytest.fixture(scope="module", autouse=True)
def tasks(datahub: Emulator, service: ServiceProcess) -> None:
    """Two that have all that a task's page can show."""
    plugin = Plugin(datahub.url, KEY, SECRET)
    for name in ("shown", "broken", "x" * 180):
        datahub.store.create_subtask(name, task_id="t-1", config={"size": 1, "nested": RESULT})
        plugin.status(name, 1)
        plugin.beat(name, process=40)
        plugin.status(name, 3)  # is refused
        datahub.store.set_status(name, 2)  # type: ignore[arg-type]  # an IntEnum's value
    plugin.upload("shown", b"x" * 10_000, "a long name " * 10)
    plugin.result("shown", RESULT)
    plugin.status("broken", 5)


@pytest.fixture
def full(screen: Screen, service: ServiceProcess) -> Screen:
    screen.call("POST", "/local/services", {"url": service.url})
    for subtask in ("shown", "broken"):
        for level in ("DEBUG", "INFO", "WARNING", "ERROR"):
            screen.log(subtask, level, "a line of a log " * 10, time.time())
    rules = [{"name": "slow", "fault": "delay", "call": ["notify"], "seconds": 0.001}]
    screen.call("PUT", "/local/chaos", {"seed": 1, "rules": rules})
    return screen


def show(screen: Screen, view: str) -> None:
    """Open a view, and all that can be opened in it."""
    screen.open(view)
    settled = {"": "tbody tr", "new": ".datahub-form", "faults": ".rules tbody tr"}
    expect(screen.page.locator(settled.get(view, ".timeline .is")).first).to_be_visible()
    for summary in screen.page.locator("summary").all():
        summary.click()


@pytest.mark.parametrize("view", VIEWS)
def test_nobody_is_kept_out(full: Screen, view: str) -> None:
    """By what axe-core finds serious, in light, dark and narrow; by scrolling sideways."""
    show(full, view)
    assert full.violations() == []
    full.page.emulate_media(color_scheme="dark")
    assert full.violations() == []
    full.page.set_viewport_size({"width": 320, "height": 700})
    assert full.overflow() <= 0
    assert full.violations() == []


def test_the_colours_follow_the_system_or_the_switch(full: Screen) -> None:
    def is_dark() -> bool:
        colour = "getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g)"
        return sum(int(part) for part in full.page.evaluate(colour)) < 200

    full.open()
    assert not is_dark()
    full.page.emulate_media(color_scheme="dark")
    assert is_dark()
    full.field("Colours").select_option("Light")
    assert not is_dark()
    full.page.reload()
    assert not is_dark()
    full.field("Colours").select_option("Dark")
    full.page.emulate_media(color_scheme="light")
    assert is_dark()


def test_the_focus_follows_the_view(full: Screen) -> None:
    full.open()
    page = full.page
    page.get_by_role("navigation", name="Main").get_by_role("link", name="New task").click()
    expect(page.locator("h1")).to_have_text("New task")
    expect(page.locator("h1")).to_be_focused()
    expect(page).to_have_title("New task · Datahub")
    page.go_back()
    expect(page.locator("h1")).to_be_focused()
    expect(page.locator("h1")).to_have_text("Tasks")


def test_the_first_tab_skips_to_the_content(full: Screen) -> None:
    full.open()
    full.page.keyboard.press("Tab")
    expect(full.page.get_by_role("link", name="Skip to the content")).to_be_focused()
    full.page.keyboard.press("Enter")
    expect(full.page.get_by_role("main")).to_be_focused()
    expect(full.page.locator("h1")).to_have_text("Tasks")


def test_nothing_moves_for_who_wants_no_motion(full: Screen) -> None:
    full.page.emulate_media(reduced_motion="reduce")
    full.open()
    moving = """[...document.querySelectorAll("*")].filter((element) => {
      const { transitionDuration, animationName } = getComputedStyle(element);
      return transitionDuration !== "0s" || animationName !== "none";
    }).length"""
    assert full.page.evaluate(moving) == 0


def test_the_list_is_a_table_for_screen_readers_in_every_width(full: Screen) -> None:
    for width in (1280, 320):
        full.page.set_viewport_size({"width": width, "height": 700})
        full.open()
        table = full.page.get_by_role("table", name="Tasks, newest first")
        expect(table.get_by_role("row").filter(has_text="shown")).not_to_have_count(0)
        expect(table.get_by_role("cell").first).to_be_visible()
