from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, expect, sync_playwright

from plugin_framework.emulator import Emulator
from tests.emulator.page.screen import Screen
from tests.service.calling import KEY, SECRET, ServiceProcess

PATIENCE = 30_000
"""Milliseconds until what is waited for is given up."""

PLUGINS = ("csv-profile", "Waits", "tests.emulator.page.plugins:Breaks")


# Of the package and no longer: while Playwright is there, this thread has an event loop.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("the page's tests need Chromium: apt-get install chromium", pytrace=False)
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="package")
def datahub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One for all tests that do not mind other tasks in the list."""
    folder = tmp_path_factory.mktemp("datahub")
    with Emulator(state_dir=folder, key=KEY, secret=SECRET) as running:
        yield running


@pytest.fixture(scope="package")
def service(
    datahub: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    """A service that the page does not know of yet."""
    folder = tmp_path_factory.mktemp("service")
    quick = {"DATAHUB_POLL_SECONDS": "1", "DATAHUB_HEARTBEAT_SECONDS": "1"}
    with ServiceProcess(folder, datahub.url, *PLUGINS, **quick) as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab that must end without an error on its console: a violation of its policy is one."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme="light", accept_downloads=True
    )
    tab = context.new_page()
    tab.set_default_timeout(PATIENCE)
    wrong: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # A server that is away, and what it refuses, are told by the browser too.
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            wrong.append(message.text)

    def raised(error: Error) -> None:
        wrong.append(str(error))

    tab.on("console", note)
    tab.on("pageerror", raised)
    yield tab
    context.close()
    assert wrong == []


@pytest.fixture
def screen(page: Page, datahub: Emulator) -> Screen:
    return Screen(page, datahub.url)
