"""From the service to a person's browser, and back in a task: what is typed is what arrives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.service.calling import ROOT, ServiceProcess
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


def test_the_page_of_the_documentation_draws_the_form(
    says: ServiceProcess, page: Page, tmp_path: Path
) -> None:
    shown = (ROOT / "docs" / "how-to" / "configuration-form.md").read_text(encoding="utf-8")
    (html,) = re.findall(r"^\$ echo '(<!DOCTYPE html>[^']*)' > form\.html$", shown, re.MULTILINE)
    file = tmp_path / "form.html"
    file.write_text(html.replace("http://127.0.0.1:8766", says.url), encoding="utf-8")
    page.goto(file.as_uri())
    page.get_by_label("Keyword").fill("fjord")
    page.get_by_text('"keyword": "fjord"').wait_for()


def test_a_page_of_another_site_may_import_the_form(
    says: ServiceProcess, page: Page, tmp_path: Path
) -> None:
    file = tmp_path / "other.html"
    file.write_text("<!DOCTYPE html>", encoding="utf-8")
    page.goto(file.as_uri())
    address = f"{says.url}/config.js?shape=module"
    drawn = "async (address) => typeof (await import(address)).default.init"
    assert page.evaluate(drawn, address) == "function"
