"""The page in a browser, as a person sees and uses it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from axe_playwright_python.sync_playwright import (  # type: ignore[import-untyped]  # no hints
    Axe,
)
from playwright.sync_api import Locator, Page, expect

from tests.emulator.calling import send

DROP = """([name, text]) => {
  const carried = new DataTransfer();
  carried.items.add(new File([text], name));
  return carried;
}"""
SERIOUS = {"serious", "critical"}


class Screen:
    """A tab on the page of the emulator at ``url``."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url

    def open(self, route: str = "") -> None:
        """Load the page anew at ``route``, which follows the ``#/``."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.url}/#/{route}")
        expect(self.page.locator("h1")).to_be_visible()

    def open_task(self, subtask_id: str) -> None:
        self.open(f"tasks/{quote(subtask_id, safe='')}")
        expect(self.badge).to_be_visible()

    def text(self, text: str) -> Locator:
        return self.page.get_by_text(text, exact=True)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def field(self, label: str) -> Locator:
        return self.page.get_by_label(label, exact=True)

    def section(self, name: str) -> Locator:
        return self.page.get_by_role("region", name=name, exact=True)

    @property
    def badge(self) -> Locator:
        """A task's status, on its own page."""
        return self.page.locator(".line-of .badge")

    def row(self, subtask_id: str) -> Locator:
        """A task's row in the list."""
        link = self.page.get_by_role("link", name=subtask_id, exact=True)
        return self.page.get_by_role("row").filter(has=link)

    def unfold(self, name: str) -> None:
        """Open what is folded away."""
        self.page.locator("summary").filter(has_text=name).click()

    def drop(self, name: str, text: str) -> None:
        """Drop a file where one can be."""
        carried = self.page.evaluate_handle(DROP, [name, text])
        self.page.dispatch_event(".drop", "drop", {"dataTransfer": carried})

    def add_service(self, url: str) -> None:
        """On the view of a new task."""
        self.field("Add a service by its address").fill(url)
        self.button("Add").last.click()

    def choose(self, plugin: str) -> None:
        self.page.get_by_role("radio", name=plugin).check()

    def create(self) -> str:
        """Create the task; its id, when its page is there."""
        self.button("Create task").click()
        self.page.wait_for_url("**/#/tasks/*")
        return self.page.locator("h1").inner_text()

    def downloaded(self, name: str) -> bytes:
        """The bytes behind a link."""
        with self.page.expect_download() as waiting:
            self.page.get_by_role("link", name=name, exact=True).click()
        assert waiting.value.suggested_filename == name
        return Path(waiting.value.path()).read_bytes()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """What the page could call, from outside of a browser."""
        sent = None if body is None else json.dumps(body).encode()
        headers = [("X-Datahub-Local", "1"), ("Content-Type", "application/json")]
        answer = send(method, self.url + path, sent, headers)
        assert answer.status < 300, answer.body
        return json.loads(answer.body)

    def log(self, subtask_id: str, level: str, message: str, at: float) -> None:
        line: Mapping[str, Any] = {"at": at, "level": level, "logger": "test", "message": message}
        self.call("POST", f"/local/tasks/{quote(subtask_id, safe='')}/logs", [line])

    def violations(self) -> list[str]:
        """What axe-core finds that would keep people out."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{one['id']}: {node['html']} {node['failureSummary']}"
            for one in found
            if one["impact"] in SERIOUS
            for node in one["nodes"]
        ]

    def overflow(self) -> int:
        """Pixels that the page is wider than its window."""
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(wide))
