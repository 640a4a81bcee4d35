from __future__ import annotations

import gzip
import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from example_plugins.warc_file import INDEX, WARC, Entry, Exchange, WarcFile
from example_plugins.web_archive import WebArchive
from warcio.archiveiterator import ArchiveIterator
from warcio.checker import Checker

from example_plugins import web_archive
from plugin_framework import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from plugin_framework.testing import ContextProbe, TaskRun

PAGES = {
    f"/{path.name}": path.read_bytes()
    for path in sorted((Path(__file__).parents[2] / "docs" / "how-to").glob("*.md"))
}
DEADLINE = 30


class Site:
    """The guides as a web site: notes what is asked for, and can let a request wait."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.robots: tuple[int, str] = (404, "")
        self.moved: dict[str, str] = {}
        self.asked: list[str] = []
        self.times: list[float] = []
        self.at_once = self.most_at_once = 0
        self.held: str | None = None
        self.waiting, self.released = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{host}:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.asked.append(request.path)
            self.times.append(time.monotonic())
            self.at_once += 1
            self.most_at_once = max(self.at_once, self.most_at_once)
        if request.path == self.held:
            self.waiting.set()
            assert self.released.wait(DEADLINE)
        status, headers, body = self.page(request.path)
        with self._lock:
            self.at_once -= 1
        try:
            request.send_response(status)
            for name, value in headers.items():
                request.send_header(name, value)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body)
        except ConnectionError:
            request.close_connection = True  # who asked has been killed

    def page(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if path in self.moved or path.startswith("/to/"):
            return 301, {"Location": self.moved.get(path, path.removeprefix("/to"))}, b"moved"
        if path == "/robots.txt":
            return self.robots[0], {}, self.robots[1].encode()
        if path == "/for-ever":
            return 302, {"Location": path, "Set-Cookie": "a=b"}, b""
        if path == "/packed":
            return 200, {"Content-Encoding": "gzip"}, gzip.compress(b"hello")
        if path in PAGES:
            return 200, {"Content-Type": "text/markdown; charset=utf-8"}, PAGES[path]
        return 404, {}, b"no such page"

    def addresses(self) -> list[str]:
        return [f"{self.url}{path}" for path in PAGES]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture
def archive(run_plugin: Callable[..., TaskRun]) -> Callable[..., TaskRun]:
    """Runs the plugin on a list of addresses."""

    def start(*pages: str, **config: Any) -> TaskRun:
        config = {"delay_seconds": 0, **config}
        return run_plugin(WebArchive, input="\n".join(pages).encode(), config=config)

    return start


def archived(run: TaskRun) -> list[tuple[str, str, bytes]]:
    """The archive's answers: address, status and content; all its digests are right."""
    path = run.outputs["pages.warc.gz"].path
    checker = Checker(type("Arguments", (), {"inputs": [str(path)], "verbose": False}))
    checker.process_all()
    assert checker.exit_value == 0
    with path.open("rb") as file:
        return [
            (
                record.rec_headers["WARC-Target-URI"],
                record.http_headers.get_statuscode(),
                record.content_stream().read(),
            )
            for record in ArchiveIterator(file)
            if record.rec_type == "response"
        ]


def index(run: TaskRun) -> dict[str, dict[str, Any]]:
    lines = run.outputs["pages.jsonl"].text().splitlines()
    return {entry["page"]: entry for entry in map(json.loads, lines)}


def counts(run: TaskRun) -> tuple[int, int, int]:
    assert run.result is not None, run.error
    return tuple(run.result[f"{kind}_counts"] for kind in ("total", "success", "failed"))


def test_a_site(site: Site, archive: Callable[..., TaskRun]) -> None:
    run = archive("# the guides", "", *site.addresses(), *site.addresses()[:3])
    assert counts(run) == (len(PAGES), len(PAGES), 0)
    expected = [(f"{site.url}{path}", "200", content) for path, content in PAGES.items()]
    assert archived(run) == expected
    assert site.asked == ["/robots.txt", *PAGES]
    assert {entry["status"] for entry in index(run).values()} == {200}


def test_pages_in_the_config(site: Site, archive: Callable[..., TaskRun]) -> None:
    run = archive("of no use", pages=site.addresses()[:2])
    assert counts(run) == (2, 2, 0)


def test_requests_are_in_the_archive_as_they_were(
    site: Site, archive: Callable[..., TaskRun]
) -> None:
    run = archive(f"{site.url}/packed#part", user_agent="web-archive (me@example.com)")
    assert [content for *_, content in archived(run)] == [b"hello"]
    with run.outputs["pages.warc.gz"].path.open("rb") as file:
        info, response, request = ArchiveIterator(file)
    assert [record.rec_type for record in (info, response, request)] == [
        "warcinfo", "response", "request"
    ]  # fmt: skip
    assert response.http_headers["Content-Encoding"] == "gzip"
    assert request.http_headers["User-Agent"] == "web-archive (me@example.com)"
    assert request.rec_headers["WARC-Concurrent-To"] == response.rec_headers["WARC-Record-ID"]


def test_redirects_are_followed_and_kept(site: Site, archive: Callable[..., TaskRun]) -> None:
    path = next(iter(PAGES))
    run = archive(f"{site.url}/to/to{path}", f"{site.url}/for-ever")
    assert counts(run) == (2, 1, 1)
    assert [status for _, status, _ in archived(run)] == ["301", "301", "200"] + ["302"] * 6
    moved, endless = index(run).values()
    assert moved["address"] == f"{site.url}{path}"
    assert "redirects" in endless["reason"]


def test_what_cannot_be_had_fails_alone(site: Site, archive: Callable[..., TaskRun]) -> None:
    path, content = max(PAGES.items(), key=lambda page: len(page[1]))
    bad = {
        "not an address": "no address",
        "ftp://example.com/x": "of the web",
        "http://": "of the web",
        "http://me:secret@127.0.0.1/": "of the web",
        "http://127.0.0.1:1/": "robots.txt cannot be had: ConnectError",
        "http://[::1/": "no address",
        "http://h:99999/": "no port 99999",
        "http://h:0/": "no port 0",
        "http://xn--a/": "no address",
        "http://xn--ls8h.example/": "no address",
        f"{site.url}{path}": "larger",
    }
    run = archive(*bad, f"{site.url}/none", f"{site.url}/packed", max_page_bytes=len(content) - 1)
    assert counts(run) == (13, 1, 12)
    entries = index(run)
    assert all(entries[page]["status"] is None for page in bad)
    assert {page: part for page, part in bad.items() if part not in entries[page]["reason"]} == {}
    assert entries[f"{site.url}/none"]["status"] == 404


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:99999/", "http://127.0.0.1:0/", "http://xn--a/", "http://[", "//"],
)
def test_a_bad_redirect_fails_alone(
    site: Site, archive: Callable[..., TaskRun], location: str
) -> None:
    good, other = site.addresses()[:2]
    site.moved["/moved"] = location
    run = archive(good, f"{site.url}/moved", other)
    assert counts(run) == (3, 2, 1)


def test_robots_that_redirect_to_no_address(archive: Callable[..., TaskRun]) -> None:
    with Site() as bad, Site() as good:
        bad.moved["/robots.txt"] = "http://127.0.0.1:99999/"
        run = archive(bad.addresses()[0], good.addresses()[0])
    assert counts(run) == (2, 1, 1)
    assert "robots.txt cannot be had" in index(run)[bad.addresses()[0]]["reason"]


def test_fragments_are_of_one_page(site: Site, archive: Callable[..., TaskRun]) -> None:
    page, other = site.addresses()[:2]
    assert counts(archive(page, f"{page}#x", other, f"{page}#y")) == (2, 2, 0)
    assert len(site.asked) == 3


def test_robots(site: Site, archive: Callable[..., TaskRun]) -> None:
    first, second, *_ = PAGES
    site.robots = (200, f"User-agent: web-archive\nDisallow: {first}\n")
    run = archive(f"{site.url}{first}", f"{site.url}{second}", f"{site.url}/to{first}")
    assert counts(run) == (3, 1, 2)
    assert first not in site.asked
    assert "robots" in index(run)[f"{site.url}{first}"]["reason"]


@pytest.mark.parametrize(("status", "succeed"), [(404, 1), (403, 1), (500, 0)])
def test_a_site_without_robots(
    site: Site, archive: Callable[..., TaskRun], status: int, succeed: int
) -> None:
    site.robots = (status, "")
    assert counts(archive(site.addresses()[0])) == (1, succeed, 1 - succeed)


def test_a_host_is_asked_once_at_a_time_and_with_pauses(
    site: Site, archive: Callable[..., TaskRun]
) -> None:
    site.robots = (200, "User-agent: *\nCrawl-delay: 0.2")
    archive(*site.addresses()[:4], delay_seconds=0.1)
    assert site.most_at_once == 1
    pauses = [later - sooner for sooner, later in zip(site.times, site.times[1:], strict=False)]
    assert pauses[0] >= 0.1
    assert min(pauses[1:]) >= 0.2


def test_hosts_are_asked_at_once(archive: Callable[..., TaskRun]) -> None:
    with ExitStack() as opened, ThreadPoolExecutor() as pool:
        sites = [opened.enter_context(Site()) for _ in range(3)]
        path = next(iter(PAGES))
        for site in sites:
            site.held = path
        run = pool.submit(archive, *(f"{site.url}{path}" for site in sites))
        assert all(site.waiting.wait(DEADLINE) for site in sites)
        for site in sites:
            site.released.set()
        assert counts(run.result(DEADLINE)) == (3, 3, 0)


def test_what_drips_is_given_up(site: Site, archive: Callable[..., TaskRun]) -> None:
    first, second, *_ = PAGES
    site.held = first
    run = archive(f"{site.url}{first}", f"{site.url}{second}", timeout_seconds=0.3)
    assert counts(run) == (2, 1, 1)


def test_killed_it_goes_on_with_what_is_missing(
    site: Site, start_plugin: Callable[..., TaskRun]
) -> None:
    paths = list(PAGES)
    site.held = paths[5]
    config = {"delay_seconds": 0, "pages": site.addresses()}
    run = start_plugin(WebArchive, config=config, isolation="process")
    assert site.waiting.wait(DEADLINE)
    run.kill()
    site.held = None
    site.released.set()
    again = run.rerun().wait()
    assert again.attempt == 2
    assert counts(again) == (len(PAGES), len(PAGES), 0)
    asked = Counter(site.asked)
    assert {path for path in paths if asked[path] != 1} == {paths[5]}
    assert [address for address, *_ in archived(again)] == site.addresses()


def test_half_a_page_is_cut_off(make_context: Callable[..., ContextProbe]) -> None:
    entry = Entry("http://a.example/", "http://a.example/", 200)
    body = BytesIO(b"hello")
    exchange = Exchange(entry.page, ("GET / HTTP/1.1", []), ("200 OK", []), body, 5)
    ctx = make_context(plugin=WebArchive)
    with WarcFile(ctx) as archive:
        archive.add(entry, [exchange])
    whole = [(ctx.work_dir / name).read_bytes() for name in (WARC, INDEX)]
    for name, half in ((WARC, b"\x1f\x8b\x08half a record"), (INDEX, b'{"pa')):
        with (ctx.work_dir / name).open("ab") as file:
            file.write(half)
    with WarcFile(make_context(state=ctx.saved[-1], attempt=2)) as archive:
        assert archive.entries == {entry.page: entry}
    assert [(ctx.work_dir / name).read_bytes() for name in (WARC, INDEX)] == whole


def test_files_that_are_gone_are_begun_anew(make_context: Callable[..., ContextProbe]) -> None:
    with WarcFile(make_context(state={"lengths": [1000, 10]}, attempt=2)) as archive:
        assert archive.entries == {}


def test_cancel_while_it_waits(site: Site, start_plugin: Callable[..., TaskRun]) -> None:
    site.held = next(iter(PAGES))
    config = {"delay_seconds": 0, "pages": site.addresses()}
    run = start_plugin(WebArchive, config=config)
    assert site.waiting.wait(DEADLINE)
    run.cancel()
    assert run.wait().status is TaskStatus.CANCELLED


def test_a_pause_is_between_two_pages(site: Site, start_plugin: Callable[..., TaskRun]) -> None:
    config = {"delay_seconds": 0, "pages": site.addresses()}
    run = start_plugin(WebArchive, config=config, pause_at=3)
    asked = len(site.asked)
    assert asked < len(PAGES)
    run.resume()
    assert counts(run.wait()) == (len(PAGES), len(PAGES), 0)
    assert TaskStatus.PAUSED in run.statuses


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfe\x00", "UTF-8"),
        (b"http://" + b"a" * 10_000, "line 1 is too long"),
        (b"http://a.example/1\nhttp://a.example/2\n", "more than 1 pages"),
    ],
    ids=["binary", "long", "many"],
)
def test_not_a_list(
    run_plugin: Callable[..., TaskRun],
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    reason: str,
) -> None:
    monkeypatch.setattr(web_archive, "MOST_PAGES", 1)
    run = run_plugin(WebArchive, input=content)
    assert run.status is TaskStatus.FAILED
    assert reason in (run.error or "")


def test_an_empty_list(archive: Callable[..., TaskRun]) -> None:
    run = archive("")
    assert counts(run) == (0, 0, 0)
    assert archived(run) == []
