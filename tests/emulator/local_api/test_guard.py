"""What pages of other sites cannot do here (FAULTS.md, row 90)."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from plugin_framework.emulator import Emulator, Store
from plugin_framework.emulator.listening import is_wildcard, listen, url_of
from plugin_framework.emulator.server import Server
from plugin_framework.emulator.settings import ServerSettings
from plugin_framework.errors import ConfigurationError
from tests.emulator.calling import send
from tests.emulator.local_api.calling import MARK, Local, task

MALFORMED = [
    "evil.com@localhost",
    "localhost#.evil.com",
    "localhost/.evil.com",
    "localhost?x",
    "localhost\\.evil.com",
    "127.0.0.1:18800, evil.com",
    "localhost:99999",
    "localhost:",
    "localhost:+1",
    "localhost:1:2",
    "::1",
    "[localhost]",
    "[127.0.0.1]",
]
PATHS = ["/", "/page/main.js", "/openapi.json", "/local/info", "/local/tasks", "/local/stream"]


def port_of(url: str) -> int:
    return urlsplit(url).port or 0


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "[::1",
        "",
        "a b",
        *MALFORMED,
    ],
)
def test_foreign_hosts_are_refused(emulator: Emulator, path: str, host: str) -> None:
    assert send("GET", emulator.url + path, None, [("Host", host)]).status == 403


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "", "https://{host}", "http://{name}", "http://{name}:1"],
)
def test_foreign_origins_are_refused(emulator: Emulator, path: str, origin: str) -> None:
    """Another scheme or port of this machine is another program's page."""
    parts = urlsplit(emulator.url)
    foreign = origin.format(host=parts.netloc, name=parts.hostname)
    assert send("GET", emulator.url + path, None, [("Origin", foreign)]).status == 403


def test_localhost_is_another_origin_than_its_address(emulator: Emulator) -> None:
    foreign = f"http://localhost:{port_of(emulator.url)}"
    assert send("GET", emulator.url + "/local/info", None, [("Origin", foreign)]).status == 403
    headers = [("Host", foreign.removeprefix("http://")), ("Origin", foreign)]
    assert send("GET", emulator.url + "/local/info", None, headers).status == 200


@pytest.mark.parametrize("path", PATHS[:-1])
def test_our_own_page_is_let_in(emulator: Emulator, path: str) -> None:
    headers = [("Origin", emulator.url), ("Sec-Fetch-Site", "same-origin")]
    assert send("GET", emulator.url + path, None, headers).status == 200


def test_two_hosts_are_refused(emulator: Emulator) -> None:
    own = urlsplit(emulator.url).netloc
    assert send("GET", emulator.url + "/", None, [("Host", own), ("Host", own)]).status in {
        400,
        403,
    }


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:65535", "[::1]:8765"])
def test_our_own_names_are_let_in(emulator: Emulator, host: str) -> None:
    assert send("GET", emulator.url + "/local/info", None, [("Host", host)]).status == 200


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://{own}/local/info", 200),
        ("http://evil.example/local/info", 403),
        ("http://{own}@evil.example/local/info", 403),
        ("http://evil.example@{own}/local/info", {400, 403}),
        ("HTTPS://evil.example/local/info", 403),
        ("http://evil.example", {400, 403}),
    ],
)
def test_the_host_of_the_first_line_is_the_one_that_counts(
    emulator: Emulator, target: str, status: int | set[int]
) -> None:
    own = urlsplit(emulator.url).netloc
    line = f"GET {target.format(own=own)} HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port_of(emulator.url)), timeout=30) as connection:
        connection.sendall(line.encode())
        with connection.makefile("rb") as answer:
            found = int(answer.readline().split()[1])
    assert found in (status if isinstance(status, set) else {status})


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("path", [*PATHS, "/api/task/notify?task_id=a", "/storage/datahub/a"])
@pytest.mark.parametrize(("mode", "dest"), [("no-cors", "empty"), ("navigate", "iframe")])
def test_what_another_site_embeds_is_refused(
    emulator: Emulator, site: str, path: str, mode: str, dest: str
) -> None:
    """Images, scripts and links carry no Origin; browsers say where they come from."""
    headers = [("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", mode), ("Sec-Fetch-Dest", dest)]
    assert send("GET", emulator.url + path, None, headers).status == 403


@pytest.mark.parametrize("path", PATHS)
def test_another_site_may_link_to_the_page_alone(emulator: Emulator, path: str) -> None:
    visit = [("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]
    answer = send("GET", emulator.url + path, None, [("Sec-Fetch-Site", "cross-site"), *visit])
    assert answer.status == (200 if path == "/" else 403)


def test_where_nobody_signs_other_sites_are_kept_out_too(tmp_path: Path) -> None:
    path = "/api/task/download/presign?subtask_id=a"
    with Emulator(state_dir=tmp_path) as unsigned:
        answer = send("GET", unsigned.url + path, None, [("Sec-Fetch-Site", "cross-site")])
        assert answer.status == 403
        assert send("GET", unsigned.url + path).json["code"] == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/local/tasks"),
        ("POST", "/local/tasks/a/cancel"),
        ("POST", "/local/tasks/a/logs"),
        ("POST", "/local/services"),
        ("DELETE", "/local/services?url=http://127.0.0.1:1"),
        ("PUT", "/local/inputs?name=a"),
        ("PUT", "/local/chaos"),
        ("DELETE", "/local/chaos"),
        ("OPTIONS", "/local/tasks"),
    ],
)
@pytest.mark.parametrize("mark", [[], [("X-Datahub-Local", "0")]])
def test_what_changes_anything_has_to_be_marked(
    emulator: Emulator, method: str, path: str, mark: list[tuple[str, str]]
) -> None:
    """A form of another site cannot send the header, and a script of one is not allowed to."""
    answer = send(method, emulator.url + path, b"{}", [("Content-Type", "text/plain"), *mark])
    assert answer.status == 403
    assert "access-control-allow-origin" not in answer.headers


def test_a_cross_site_form_cannot_cancel(emulator: Emulator, store: Store, running: str) -> None:
    path = f"{emulator.url}/local/{task(running, '/cancel')}"
    headers = [("Origin", "http://evil.example"), MARK]
    assert send("POST", path, b"", headers).status == 403
    assert store.subtask(running).requested is None
    assert send("POST", path, b"", [("Origin", emulator.url), MARK]).status == 200


@pytest.mark.parametrize("path", ["info", "tasks", "plugins", "chaos", "nothing"])
def test_answers_are_never_cached_sniffed_or_shared(local: Local, path: str) -> None:
    headers = local.get(path).headers
    assert "no-store" in headers["cache-control"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers


def test_the_page_allows_nothing_inline_and_nothing_foreign(emulator: Emulator) -> None:
    headers = send("GET", emulator.url + "/").headers
    policy = dict(
        part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"


def test_the_secret_is_nowhere_in_what_is_said(emulator: Emulator, local: Local) -> None:
    for path in ("info", "plugins", "tasks", "chaos"):
        assert b"secret-1" not in local.get(path).body
    assert local.json("info")["auth"] is True


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "0", "::ffff:0.0.0.0", "0000:0::0"])
def test_a_wildcard_has_to_be_allowed(tmp_path: Path, host: str) -> None:
    settings = ServerSettings(state_dir=tmp_path, host=host)
    with pytest.raises(ConfigurationError, match="--allow-wildcard"):
        Server(settings)


def test_a_wildcard_that_is_allowed_is_shown_as_loopback() -> None:
    with listen("0.0.0.0", 0, allow_wildcard=True) as listener:
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_loopback_is_no_wildcard() -> None:
    assert [is_wildcard(text) for text in ("127.0.0.1", "::1", "fe80::1%lo", "10.0.0.1")] == [
        False
    ] * 4


@pytest.mark.parametrize("host", ["", "a" * 300, "203.0.113.7"])
def test_an_address_that_cannot_be_had_is_one_line(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^--host") as caught:
        Server(ServerSettings(state_dir=tmp_path, host=host))
    assert len(caught.value.problems) == 1
    assert "\n" not in str(caught.value)
