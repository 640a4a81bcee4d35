"""Pages with a form, served as a strict page of Datahub's would be."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from playwright.sync_api import Locator, Page

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'"
PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>Datahub</title>
<script src="watch.js"></script><script src="config.js"></script>
<script src="page.js" defer></script></head>
<body><main><h1>Task</h1><div id="form"></div></main></body>
</html>
"""
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""
STARTS_FORM = """
window.updates = [];
datahubPluginConfig.init("form", (config) => updates.push(JSON.stringify(config)));
"""


class Site:
    """A web server on loopback for pages that are put here, each in a folder of its own."""

    def __init__(self) -> None:
        self.folders: dict[str, dict[str, str]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def put(self, config_script: str, **others: str) -> str:
        """The address of a page that loads ``config_script``."""
        name = str(len(self.folders))
        files = {"page.html": PAGE, "watch.js": WATCH, "page.js": STARTS_FORM, **others}
        self.folders[name] = {**files, "config.js": config_script}
        return f"http://127.0.0.1:{self._server.server_port}/{name}/page.html"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        folders = self.folders

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _, folder, file = self.path.partition("?")[0].split("/")
                body = folders[folder][file].encode()
                kind = "text/html" if file.endswith(".html") else "text/javascript"
                self.send_response(200)
                self.send_header("Content-Type", f"{kind}; charset=utf-8")
                self.send_header("Content-Security-Policy", POLICY)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        return Handler


class Form:
    """A form in a browser, as a person and the page around it see it."""

    def __init__(self, page: Page) -> None:
        self.page = page

    @property
    def config(self) -> Any:
        """What the last ``updateConfig`` was given, as the page would send it."""
        return json.loads(self.page.evaluate("updates.at(-1)"))

    @property
    def updates(self) -> int:
        return int(self.page.evaluate("updates.length"))

    def field(self, label: str) -> Locator:
        return self.page.get_by_label(label, exact=True)

    def group(self, name: str) -> Locator:
        return self.page.get_by_role("group", name=name, exact=True)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def type(self, label: str, text: str) -> None:
        """Replace what the field holds, by keyboard."""
        self.field(label).focus()
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.press("Delete")
        self.page.keyboard.type(text)

    def verdict(self, config: Any = None) -> dict[str, Any]:
        """What ``validateConfig`` says: of ``config``, or of the form as it stands."""
        text = self.page.evaluate("updates.at(-1)") if config is None else json.dumps(config)
        found: dict[str, Any] = self.page.evaluate(
            "(text) => datahubPluginConfig.validateConfig(JSON.parse(text))", text
        )
        return found

    def error_of(self, field: Locator) -> str:
        """The text of the field's error, found the way a screen reader finds it."""
        ids = (field.get_attribute("aria-describedby") or "").split()
        texts = [self.page.locator(f"[id='{name}'][role=alert]").all_inner_texts() for name in ids]
        return "".join(text for found in texts for text in found).lower()


OpenForm = Callable[..., Form]
