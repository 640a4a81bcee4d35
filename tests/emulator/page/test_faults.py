"""Faults are set, watched and stopped on the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from plugin_framework.emulator import Emulator
from tests.emulator.calling import Plugin
from tests.emulator.page.screen import Screen
from tests.service.calling import KEY, SECRET


@pytest.fixture
def faults(screen: Screen, datahub: Emulator) -> Iterator[Screen]:
    datahub.set_chaos(None)
    screen.open("faults")
    expect(screen.text("No rule: all is well.")).to_be_visible()
    yield screen
    datahub.set_chaos(None)


def test_presets_are_set_and_stopped(faults: Screen, datahub: Emulator) -> None:
    slow = faults.page.get_by_role("button", name="Slow API")
    slow.click()
    faults.page.get_by_role("button", name="Expired URLs").click()
    expect(slow).to_have_attribute("aria-pressed", "true")
    expect(faults.section("In force").get_by_role("row")).to_have_count(3)
    names = {rule["name"] for rule in datahub.chaos["rules"]}
    assert names == {"slow-api", "expired-urls"}
    slow.click()
    expect(slow).to_have_attribute("aria-pressed", "false")
    faults.button("Remove expired-urls").click()
    expect(faults.text("No rule: all is well.")).to_be_visible()
    slow.click()
    expect(slow).to_have_attribute("aria-pressed", "true")
    faults.button("Stop all").click()
    expect(faults.text("No rule: all is well.")).to_be_visible()
    assert datahub.chaos["rules"] == []


def test_rules_are_written_counted_and_drawn(faults: Screen, datahub: Emulator) -> None:
    rules = '[{"name": "tired", "fault": "code", "call": "heartbeat", "code": 7, "count": 2}]'
    faults.field("Rules, a JSON list").fill(rules)
    faults.field("Seed").fill("12")
    faults.button("Apply").click()
    row = faults.section("In force").get_by_role("row", name="tired")
    expect(row).to_be_visible()
    assert datahub.chaos["seed"] == 12
    plugin = Plugin(datahub.url, KEY, SECRET)
    datahub.store.create_subtask("victim")
    plugin.status("victim", 1)
    assert [plugin.beat("victim").json["code"] for _ in range(3)] == [7, 7, 0]
    expect(row.locator(".number").nth(1)).to_have_text("2")
    expect(row.locator(".number").first).to_have_text("3")
    faults.open_task("victim")
    expect(faults.page.locator(".timeline .mark.fault")).not_to_have_count(0)
    faults.unfold("Events as a table")
    expect(faults.page.locator(".events [data-kind=fault]")).to_have_count(2)


def test_what_is_wrong_with_rules_is_told(faults: Screen, datahub: Emulator) -> None:
    problem = faults.page.locator(".faults > .problem")
    editor = faults.field("Rules, a JSON list")
    editor.fill("[")
    faults.button("Apply").click()
    expect(problem).to_contain_text("not JSON")
    editor.fill('[{"fault": "dealy", "seconds": 1}]')
    faults.button("Apply").click()
    expect(problem).to_contain_text("did you mean delay?")
    expect(editor).to_have_value('[{"fault": "dealy", "seconds": 1}]')
    faults.button("Show what is in force").click()
    expect(editor).to_have_value("[]")
    assert datahub.chaos["rules"] == []


def test_the_format_of_rules_is_at_hand(faults: Screen) -> None:
    faults.unfold("What rules can say")
    reference = faults.page.locator(".reference")
    expect(reference).to_contain_text("slow_down")
    expect(reference).to_contain_text("probability")
