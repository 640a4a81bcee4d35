"""Markup in whatever comes from elsewhere stays text, and nothing of it runs."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Dialog, expect

from plugin_framework.emulator import Emulator
from tests.emulator.calling import Plugin, send
from tests.emulator.page.screen import Screen
from tests.service.calling import KEY, SECRET

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)<!--"
PARTS = "img[src=x], main script, b.hostile, [onerror]"


class Health(BaseHTTPRequestHandler):
    """A service with one plugin, whose name and form are hostile."""

    def do_GET(self) -> None:
        is_health = self.path.startswith("/api/plugin/health")
        plugin = {"plugin_id": HOSTILE, "version": HOSTILE, "uptime": 1}
        health = {"code": 0, "msg": "success", "status": "healthy", "plugin": plugin}
        body = json.dumps(health).encode() if is_health else b"this is no script"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = json.dumps({"code": 400, "msg": HOSTILE}).encode()
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def hostile_service() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Health)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def nothing_runs(screen: Screen) -> Iterator[None]:
    opened: list[str] = []

    def note(dialog: Dialog) -> None:
        opened.append(dialog.message)
        dialog.dismiss()

    screen.page.on("dialog", note)
    yield
    assert opened == []
    assert screen.page.locator(PARTS).count() == 0


def test_in_all_that_a_task_has(screen: Screen, datahub: Emulator) -> None:
    plugin = Plugin(datahub.url, KEY, SECRET)
    subtask = HOSTILE.replace("/", "")
    config = {HOSTILE: HOSTILE, "rows": [{HOSTILE: HOSTILE}]}
    datahub.store.create_subtask(subtask, task_id=HOSTILE, file_name=HOSTILE, config=config)
    plugin.status(subtask, 1)
    plugin.upload(subtask, b"content", HOSTILE)
    plugin.status(subtask, 5)
    screen.log(subtask, "ERROR", HOSTILE, 1.0)
    screen.open_task(subtask)
    expect(screen.page.locator("h1")).to_have_text(subtask)
    expect(screen.page.locator(".callout")).to_contain_text(HOSTILE)
    expect(screen.page.locator(".line .message")).to_have_text(HOSTILE)
    expect(screen.section("Outputs").get_by_role("link")).to_have_text(HOSTILE)
    expect(screen.section("Facts")).to_contain_text(HOSTILE)
    expect(screen.section("Configuration")).to_contain_text(HOSTILE)
    screen.unfold("Events as a table")
    expect(screen.page.locator(".events tbody")).to_contain_text(HOSTILE)
    assert screen.page.locator(PARTS).count() == 0
    screen.open()
    row = screen.page.get_by_role("row").filter(has_text=HOSTILE)
    expect(row.first).to_be_visible()
    row.get_by_role("link").first.click()
    expect(screen.page.locator("h1")).to_have_text(subtask)


def test_in_a_result(screen: Screen, datahub: Emulator) -> None:
    plugin = Plugin(datahub.url, KEY, SECRET)
    datahub.store.create_subtask("hostile result")
    plugin.status("hostile result", 1)
    plugin.result("hostile result", {HOSTILE: HOSTILE, "rows": [{HOSTILE: HOSTILE}]})
    screen.open_task("hostile result")
    section = screen.section("Result")
    expect(section.get_by_role("row", name=HOSTILE).first).to_be_visible()
    assert section.locator("td").all_inner_texts().count(HOSTILE) == 2
    section.get_by_role("button", name="JSON").click()
    expect(section.locator("pre")).to_contain_text(HOSTILE)


def test_in_what_a_service_says(screen: Screen, hostile_service: str) -> None:
    screen.open("new")
    screen.add_service(hostile_service)
    screen.choose(HOSTILE)
    expect(screen.page.locator(".choice").filter(has_text=HOSTILE)).to_be_visible()
    note = screen.page.locator("#config-json-note")
    expect(note).to_contain_text("cannot be shown")
    screen.field("Configuration (a JSON object)").fill("[1]")
    screen.button("Create task").click()
    problem = screen.page.locator(".new > .problem")
    expect(problem).to_have_text("The configuration must be a JSON object.")
    screen.field("Configuration (a JSON object)").fill(json.dumps({"a": HOSTILE}))
    screen.drop(HOSTILE.replace("/", ""), "content")
    expect(screen.page.locator(".chosen")).to_contain_text(re.compile(r"B$"))
    screen.button("Create task").click()
    expect(problem).to_contain_text(HOSTILE)
    screen.call("DELETE", f"/local/services?url={hostile_service}")


def test_in_an_address(screen: Screen) -> None:
    screen.open("tasks/%3Cimg%20src=x%20onerror=alert(1)%3E")
    expect(screen.page.locator("h1")).to_have_text("<img src=x onerror=alert(1)>")
    screen.open("%E0%A4%A?search=%3Cb%3E")
    expect(screen.page.locator("h1")).to_have_text("Tasks")
    expect(screen.field("Search tasks")).to_have_value("<b>")


def test_the_policy_lets_nothing_inline_run(screen: Screen) -> None:
    answer = send("GET", f"{screen.url}/")
    headers = answer.headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert not re.search(rb"\son\w+=|\sstyle=|<style|<script>", answer.body)
