"""A task is created by the page, and watched there until it is over."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from plugin_framework.emulator import Emulator
from tests.emulator.page.screen import Screen
from tests.service.calling import ServiceProcess

CSV = "city,price\nOslo,12\nBergen,\nTromsø,7\n"


@pytest.fixture
def ready(screen: Screen, service: ServiceProcess) -> Screen:
    """On the view of a new task, with the service there."""
    screen.call("POST", "/local/services", {"url": service.url})
    screen.open("new")
    expect(screen.page.get_by_role("radio", name="csv-profile")).to_be_visible()
    return screen


def test_a_dropped_file_is_profiled_and_what_comes_of_it_downloaded(
    screen: Screen, service: ServiceProcess, datahub: Emulator
) -> None:
    screen.open("new")
    screen.add_service(service.url)
    expect(screen.text("Found 3 plugins.")).to_be_visible()
    screen.choose("csv-profile")
    screen.drop("cities.csv", CSV)
    screen.field("Bins").fill("7")
    screen.field("Picture").select_option("none")
    expect(screen.page.locator(".chosen")).to_have_text(re.compile(r"^cities\.csv, \d+\sB$"))
    subtask = screen.create()
    expect(screen.badge).to_contain_text("Completed")
    expect(screen.section("Result").get_by_role("row", name="total_counts 3")).to_be_visible()
    stored = {output.name: output.path for output in datahub.store.outputs(subtask)}
    assert screen.downloaded("profile.json") == stored["profile.json"].read_bytes()
    assert screen.downloaded("cities.csv") == CSV.encode()
    assert datahub.store.subtask(subtask).config["bins"] == 7
    screen.section("Result").get_by_role("button", name="JSON").click()
    shown = screen.section("Result").locator("pre").inner_text()
    assert json.loads(shown) == datahub.store.subtask(subtask).result
    picture = screen.page.get_by_role("img", name=re.compile("^Timeline of .*: completed"))
    expect(picture.locator(".bar.get")).not_to_have_count(0)
    expect(picture.locator(".bar.put")).not_to_have_count(0)
    screen.unfold("Events as a table")
    expect(screen.page.get_by_role("row", name="Sent the result")).to_be_visible()


def test_a_task_is_created_by_keyboard_alone(ready: Screen, datahub: Emulator) -> None:
    keyboard = ready.page.keyboard
    # Playwright begins to catch them now, and would else do so while Enter is pressed.
    ready.page.on("filechooser", lambda _chooser: None)

    def tab_to(label: str) -> None:
        for _ in range(60):
            keyboard.press("Tab")
            if ready.page.evaluate(NAME_OF_FOCUS).strip().startswith(label):
                return
        raise AssertionError(f"Tab does not lead to {label}")

    tab_to("Skip to the content")
    keyboard.press("Enter")
    tab_to("Breaks")
    while not ready.page.get_by_role("radio", name="csv-profile").is_checked():
        keyboard.press("ArrowDown")
    tab_to("Drop a file here")
    with ready.page.expect_file_chooser() as choosing:
        keyboard.press("Enter")
    choosing.value.set_files({"name": "keys.csv", "mimeType": "text/csv", "buffer": CSV.encode()})
    expect(ready.page.locator(".chosen")).to_contain_text(re.compile(r"B$"))
    tab_to("Bins")
    keyboard.press("ControlOrMeta+a")
    keyboard.type("9")
    tab_to("Create task")
    keyboard.press("Enter")
    ready.page.wait_for_url("**/#/tasks/*")
    assert ready.page.evaluate("document.activeElement.tagName") == "H1"
    expect(ready.badge).to_contain_text("Completed")
    subtask = datahub.store.subtask(ready.page.locator("h1").inner_text())
    assert (subtask.config["bins"], subtask.input_name) == (9, "keys.csv")


# The words that a screen reader begins with.
NAME_OF_FOCUS = """() => {
  const at = document.activeElement;
  return at.ariaLabel ?? at.labels?.[0]?.innerText ?? at.innerText ?? "";
}"""


def test_what_the_form_finds_wrong_is_not_sent(ready: Screen) -> None:
    ready.choose("csv-profile")
    ready.field("Bins").fill("1")
    ready.button("Create task").click()
    expect(ready.page.locator(".new > .problem")).to_contain_text("Bins")
    assert ready.page.url.endswith("#/new")


def test_what_the_service_refuses_is_told_at_the_form(ready: Screen) -> None:
    ready.choose("csv-profile")
    ready.field("Encoding").fill("no-such-encoding")
    ready.button("Create task").click()
    problem = ready.page.locator(".new > .problem")
    expect(problem).to_contain_text("The service refused it")
    expect(problem).to_contain_text("encoding")
    problem.get_by_role("link", name="See the task").click()
    expect(ready.badge).to_contain_text("Failed")
    expect(ready.page.locator(".callout")).to_contain_text("encoding")


def test_an_id_that_is_taken_is_told_at_the_form(ready: Screen, datahub: Emulator) -> None:
    datahub.store.create_subtask("taken")
    ready.choose("csv-profile")
    ready.field("Subtask id").fill("taken")
    ready.button("Create task").click()
    expect(ready.page.locator(".new > .problem")).to_contain_text("taken")


def test_a_file_can_be_taken_back(ready: Screen) -> None:
    ready.drop("a.csv", CSV)
    expect(ready.page.locator(".chosen")).to_contain_text("a.csv")
    ready.page.locator(".drop").get_by_role("button", name="Remove").click()
    expect(ready.page.locator(".chosen")).to_have_text("")


def test_the_last_of_two_files_is_the_input(ready: Screen, datahub: Emulator) -> None:
    ready.choose("Breaks")
    ready.drop("first.csv", "first")
    ready.drop("second.csv", "second")
    expect(ready.page.locator(".chosen")).to_have_text(re.compile(r"^second\.csv, 6\sB$"))
    assert datahub.store.subtask(ready.create()).input_name == "second.csv"


def test_a_service_that_cannot_be_had_says_why(screen: Screen) -> None:
    screen.open("new")
    screen.add_service("http://127.0.0.1:1")
    expect(screen.page.locator(".add .problem")).to_be_visible()
    screen.add_service("ftp://127.0.0.1")
    expect(screen.page.locator(".add .problem")).to_contain_text("http://")
