"""From the service to a person's browser, and back in a task: what is typed is what arrives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.service.calling import ServiceProcess
from tests.service.form.pages import Form, Site
from tests.service.hub import Hub


@pytest.fixture
def says(hub: Hub, tmp_path: Path) -> Iterator[ServiceProcess]:
    with ServiceProcess(tmp_path, hub.url, "tests.service.form.plugins:Says") as running:
        yield running


def test_what_is_typed_arrives_in_create_task(
    says: ServiceProcess, hub: Hub, site: Site, page: Page
) -> None:
    page.goto(site.put(says.call.get("/config.js").raw.decode()))
    form = Form(page)
    form.type("Keyword", "fjord 😀 <b>")
    assert says.call.create("half", form.config).fate == (400, 400)
    assert not form.verdict()["valid"]
    form.type("Count", "7")
    form.field("Size").select_option("large")
    form.field("Fast").press("Space")
    form.field("Since").fill("2024-02-29")
    form.button("Add to Tags").press("Enter")
    page.keyboard.type("5")
    form.button("Add to Limits").press("Enter")
    page.keyboard.type("per day")
    page.keyboard.press("Tab")
    page.keyboard.type("3")
    form.field("Set Area").press("Space")
    form.field("Country").fill("NO")
    form.type("Token", "four")
    assert form.verdict()["valid"]
    assert says.call.create("whole", form.config).fate == (200, 0)
    hub.told("whole", 1, 3)
    assert hub.results["whole"]["given"] == {
        "keyword": "fjord 😀 <b>",
        "count": 7,
        "size": "large",
        "fast": True,
        "since": "2024-02-29",
        "tags": ["5"],
        "limits": {"per day": 3},
        "area": {"country": "NO", "radius": 10.0},
    }
    assert hub.results["whole"]["token_length"] == len("four")
