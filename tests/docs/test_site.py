"""The site can be built, has every page, and loads nothing from another host."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

import plugin_framework
from tests.docs.generator import load
from tests.docs.markdown import PAGES, ROOT

DOCS = ROOT / "docs"
SOURCES = {"img", "script", "iframe", "source", "video", "audio", "embed", "object"}
LINKED = {"icon", "preload", "prefetch", "preconnect", "stylesheet", "modulepreload"}


# Once for all tests: none of them changes it.
@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        argv, cwd=ROOT, env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def hooks() -> dict[str, Any]:
    return load("site_hooks.py")


class Loaded(HTMLParser):
    """Collects the addresses that a browser loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.classes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.classes.update(given.get("class", "").split())
        if tag in SOURCES:
            self.found += [given[name] for name in ("src", "data", "srcset") if name in given]
        elif tag == "link" and LINKED & set(given.get("rel", "").split()):
            self.found.append(given["href"])


def _pages_in(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    for part in entry.values() if isinstance(entry, dict) else entry:
        if not isinstance(entry, str):
            yield from _pages_in(part)


def test_every_page_is_in_the_navigation_once(hooks: dict[str, Any]) -> None:
    listed = list(_pages_in(hooks["navigation"](DOCS)))
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert sorted(listed) == sorted(pages | set(hooks["BROUGHT_IN"].values()))


def test_a_page_that_is_new_finds_its_place(hooks: dict[str, Any], tmp_path: Path) -> None:
    for page in ("how-to/old.md", "how-to/new.md", "reference/all.md", "reference/errors/X-1.md"):
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / page).write_text(f"<!-- made -->\n\n# The {Path(page).stem}\n")
    (tmp_path / "index.md").write_text(
        "# D\n\n## How-to guides: do\n\n- [Old\n  one](how-to/old.md)\n\n## Reference\n\n"
        "- [All](reference/all.md): all\n- [Read](../README.md#a)\n"
    )
    assert hooks["navigation"](tmp_path) == [
        {"Documentation": "index.md"},
        {"How-to guides": [{"Old one": "how-to/old.md"}, {"The new": "how-to/new.md"}]},
        {
            "Reference": [
                {"All": "reference/all.md"},
                {"Read": "project/readme.md"},
                {"Errors, one by one": [{"The X-1": "reference/errors/X-1.md"}]},
            ]
        },
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lists_and_tables_stand_apart_from_text(page: Path) -> None:
    """Else code hosts show them, and the site runs them into the paragraph."""
    text = re.sub(
        r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    for before, line in pairwise(text.splitlines()):
        item = re.match(r"([-*]|\d+\.) |\|", line)
        assert not item or re.match(r"$|#|\s|([-*]|\d+\.) |\|", before), line
        assert not re.match(r" {1,3}([-*]|\d+\.) ", line), f"indent it by 4: {line}"


@pytest.mark.parametrize(
    ("page", "text", "mended"),
    [
        ("how-to/a.md", "[b](../reference/b.md#c)", "[b](../reference/b.md#c)"),
        ("how-to/a.md", "[the\nreadme](../../README.md)", "[the\nreadme](../project/readme.md)"),
        ("how-to/a.md", "[x](../../example_plugins/)", "[x](../project/example-plugins.md)"),
        ("how-to/a.md", "[a test](../../tests/test_a.py)", "a test (`tests/test_a.py`)"),
        ("how-to/a.md", "[`tests/a.py`](../../tests/a.py)", "`tests/a.py`"),
        ("how-to/a.md", "[deploy/](deploy/)", "deploy/ (`docs/how-to/deploy`)"),
        ("how-to/a.md", "[x](https://e.org/) [y](#z)", "[x](https://e.org/) [y](#z)"),
        ("how-to/a.md", "```text\n[x](../../x)\n```\n", "```text\n[x](../../x)\n```\n"),
        ("project/readme.md", "![p](docs/images/p.svg)", "![p](../images/p.svg)"),
        ("project/readme.md", "[l](LICENSE)", "l (`LICENSE`)"),
    ],
)
def test_links_work_in_the_site_too(
    hooks: dict[str, Any], page: str, text: str, mended: str
) -> None:
    assert hooks["mended"](text, page, "") == mended


def test_links_lead_to_the_repository_where_it_is_shown(hooks: dict[str, Any]) -> None:
    text = hooks["mended"]("[t](../../tests/a.py#L3)", "how-to/a.md", "https://git.example/r/")
    assert text == "[t](https://git.example/r/blob/HEAD/tests/a.py#L3)"


def test_every_page_is_built(site: Path, hooks: dict[str, Any]) -> None:
    pages = [*_pages_in(hooks["navigation"](DOCS))]
    assert [page for page in pages if not (site / page).with_suffix(".html").is_file()] == []
    assert not list(site.rglob("*.py"))


def test_every_public_name_is_drawn_from_its_code(site: Path) -> None:
    pages = [path.read_text(encoding="utf-8") for path in (site / "reference").glob("*.html")]
    assert not any("&lt;!-- api" in page or ":::" in page for page in pages)
    marked = re.findall(r"<!-- api: ([\w.]+) -->", "".join(map(_text, DOCS.rglob("*.md"))))
    assert "plugin_framework.TaskContext" in marked
    inventory = "".join(pages)
    context = plugin_framework.TaskContext
    for member in (name for name in vars(context) if not name.startswith("_")):
        assert f'id="plugin_framework.TaskContext.{member}"' in inventory, member


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = Loaded()
        loaded.feed(_text(page))
        assert [url for url in loaded.found if re.match(r"(https?:)?//", url)] == [], page
        assert "mermaid" not in loaded.classes, page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", _text(sheet)), sheet


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and says nothing about it."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _find(page: Page, words: str) -> None:
    """Search once the page answers: what is typed before its script runs is not heard."""
    found = page.locator(".md-search-result__link").first
    for _ in range(15):
        page.get_by_role("textbox", name="Search").fill("")
        page.get_by_role("textbox", name="Search").press_sequentially(words)
        with suppress(PlaywrightTimeout):
            found.wait_for(timeout=4_000)
            return
    expect(found).to_be_visible()


def test_a_browser_finds_a_setting_without_another_host(address: str) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("this needs Chromium: apt-get install chromium", pytrace=False)
    elsewhere: list[str] = []

    def guard(route: Route) -> None:
        if route.request.url.startswith((address, "data:", "blob:")):
            route.continue_()
        else:
            elsewhere.append(route.request.url)
            route.abort()

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.route("**/*", guard)
        page.goto(f"{address}/explanation/lifecycle.html")
        expect(page.locator("article img").first).to_have_js_property("complete", value=True)
        _find(page, "DATAHUB_STALL_SECONDS")
        browser.close()
    assert (elsewhere, wrong) == ([], [])
