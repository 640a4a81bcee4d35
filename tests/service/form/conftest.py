from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, sync_playwright
from pydantic import BaseModel

from plugin_framework.service.form import config_script
from tests.service.form.pages import Form, OpenForm, Site


# Of the package and no longer: while Playwright is there, this thread has an event loop.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("the form's tests need Chromium: apt-get install chromium", pytrace=False)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="package")
def site() -> Iterator[Site]:
    served = Site()
    yield served
    served.close()


@pytest.fixture(scope="package")
def tab(browser: Browser) -> Page:
    return browser.new_page()


@pytest.fixture
def page(tab: Page) -> Iterator[Page]:
    """A tab that must end without an error on its console or a violation of its policy."""
    wrong: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            wrong.append(message.text)

    def raised(error: Error) -> None:
        wrong.append(str(error))

    tab.set_viewport_size({"width": 800, "height": 900})
    tab.emulate_media(color_scheme="light")
    tab.on("console", note)
    tab.on("pageerror", raised)
    yield tab
    wrong += tab.evaluate("globalThis.violations ?? []")
    tab.goto("about:blank")
    tab.remove_listener("console", note)
    tab.remove_listener("pageerror", raised)
    assert wrong == []


@pytest.fixture
def open_form(site: Site, page: Page) -> OpenForm:
    """Draws the form of a model, under a Content-Security-Policy that allows nothing inline."""

    def opened(model: type[BaseModel] | dict[str, Any]) -> Form:
        schema = model if isinstance(model, dict) else model.model_json_schema()
        page.goto(site.put(config_script(schema, name="demo")))
        return Form(page)

    return opened
