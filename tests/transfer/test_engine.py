from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from plugin_framework.errors import (
    AddressRefusedError,
    CertificateError,
    SourceChangedError,
    StorageUnreachableError,
    TransferError,
)
from plugin_framework.transfer.engine import AbortedError, Engine, EngineOptions
from plugin_framework.transfer.exchange import Answer, BinaryWindow
from tests.scripted_server import make_certificate
from tests.transfer.storage_server import (
    Dialogue,
    StorageServer,
    Stored,
    Zeros,
    answers,
    cuts_short,
    redirects,
    stalls,
    tunnels_to,
)

HOSTILE_TARGETS = [
    "/b/../a?X-Amz-Signature=1",
    "/./b/.?s=1",
    "/b/%2F//x//?s=1",
    "/b/%2e%2e/%2f%c3%a4?s=%2f%2F",
    "/b/+~%20!$&'()*,;=:@?s=+~",
    "/b/%E4%e4?s",
    "/b?",
    "/b?a=b?c=/../d",
    '/b/"<>\\^`{|}?s="<>',
]


class Collector:
    """A sink that takes everything."""

    def __init__(self) -> None:
        self.status = 0
        self.data = bytearray()

    def begin(self, answer: Answer) -> bool:
        self.status = answer.status
        return answer.ok

    def write(self, data: memoryview) -> None:
        self.data += data


class Seen:
    """A digest that tells what it was told."""

    def __init__(self) -> None:
        self.data = b"of another part"

    def update(self, data: bytes, /) -> None:
        self.data += data

    def reset(self) -> None:
        self.data = b""


def never() -> bool:
    return False


def get(engine: Engine, url: str) -> tuple[Answer, bytes]:
    sink = Collector()
    return engine.get(url, sink=sink, abort=never), bytes(sink.data)


@pytest.fixture
def window(tmp_path: Path) -> Iterator[BinaryWindow]:
    path = tmp_path / "source"
    path.write_bytes(b"0123456789")
    fd = os.open(path, os.O_RDONLY)
    yield BinaryWindow(fd, 2, 5)
    os.close(fd)


@pytest.mark.parametrize("target", HOSTILE_TARGETS)
def test_the_request_target_goes_out_byte_for_byte(
    engine: Engine, server: StorageServer, window: BinaryWindow, target: str
) -> None:
    engine.put(server.url + target, window, never)
    engine.get(server.url + target, sink=Collector(), abort=never)
    assert [request.line for request in server.requests] == [
        f"PUT {target} HTTP/1.1",
        f"GET {target} HTTP/1.1",
    ]


def test_a_put_carries_its_window_and_no_header_but_what_it_needs(
    engine: Engine, server: StorageServer, window: BinaryWindow
) -> None:
    answer = engine.put(f"{server.url}/k?s", window, never)
    assert answer.ok
    assert server.requests[0].body == b"23456"
    assert server.requests[0].headers == [
        ("Host", f"127.0.0.1:{server.port}"),
        ("User-Agent", "datahub-plugin-framework"),
        ("Content-Length", "5"),
    ]


def test_an_empty_window_is_an_empty_body_of_known_length(
    engine: Engine, server: StorageServer, window: BinaryWindow
) -> None:
    engine.put(f"{server.url}/k", replace(window, size=0), never)
    request = server.requests[0]
    assert request.header("content-length") == "0"
    assert request.header("transfer-encoding") is None


def test_a_get_asks_for_its_range_and_nothing_else(engine: Engine, server: StorageServer) -> None:
    server.objects["/k"] = Stored(b"0123456789", '"e"')
    sink = Collector()
    engine.get(f"{server.url}/k?s", start=2, end=4, etag='"e"', sink=sink, abort=never)
    assert sink.data == b"234"
    assert server.requests[0].headers[2:] == [("Range", "bytes=2-4"), ("If-Match", '"e"')]


def test_netrc_and_proxies_of_the_environment_are_not_used(
    server: StorageServer,
    options: EngineOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password SECRET\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.objects["/k"] = Stored(b"x", headers={"Set-Cookie": "a=b; Path=/"})
    engine = Engine(options)
    for _ in range(2):
        assert get(engine, f"{server.url}/k")[1] == b"x"
    engine.close()
    for request in server.requests:
        assert {name for name, _ in request.headers} == {"Host", "User-Agent"}


@pytest.mark.parametrize("source", ["explicit", "environment"])
def test_a_proxy_gets_the_url_byte_for_byte(
    server: StorageServer, options: EngineOptions, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    proxy = server.url if source == "explicit" else "env"
    url = "http://storage.invalid:80/a/../%2f//?X=%2f"
    server.script("GET", "storage.invalid", answers(200, body=b"proxied"))
    engine = Engine(replace(options, proxy=proxy))
    assert get(engine, url)[1] == b"proxied"
    engine.close()
    assert server.requests[0].line == f"GET {url} HTTP/1.1"


def test_the_environment_can_exempt_hosts_from_its_proxy(
    server: StorageServer, options: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.objects["/k"] = Stored(b"x")
    engine = Engine(replace(options, proxy="env"))
    assert get(engine, f"{server.url}/k")[1] == b"x"
    engine.close()


@pytest.mark.parametrize("source", ["explicit", "environment"])
@pytest.mark.parametrize(
    "rest",
    ["pw@127.0.0.1:1", " pw@127.0.0.1:1", "\u00e9@127.0.0.1:1", "@127.0.0.1:99999"],
)
@pytest.mark.parametrize("scheme", ["http", "socks9"])
def test_no_error_tells_the_password_of_a_proxy(
    options: EngineOptions, monkeypatch: pytest.MonkeyPatch, source: str, rest: str, scheme: str
) -> None:
    proxy = f"{scheme}://user:SECRET{rest}"
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    engine = Engine(replace(options, proxy=proxy if source == "explicit" else "env"))
    with pytest.raises(TransferError, match="proxy") as caught:
        get(engine, "http://127.0.0.1:9/k?SECRET")
    engine.close()
    assert "SECRET" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_connection_is_kept(engine: Engine, server: StorageServer, window: BinaryWindow) -> None:
    for _ in range(3):
        engine.put(f"{server.url}/k", window, never)
    assert len({request.peer for request in server.requests}) == 1


def test_a_put_on_a_connection_that_died_meanwhile_is_sent_whole(
    engine: Engine, server: StorageServer, window: BinaryWindow
) -> None:
    server.script("PUT", "/k", Dialogue.serve, Dialogue.reset)
    for _ in range(2):
        assert engine.put(f"{server.url}/k", window, never).ok
    assert server.requests[-1].body == b"23456"


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_is_followed_to_the_letter_with_the_body_again(
    engine: Engine, server: StorageServer, window: BinaryWindow, status: int
) -> None:
    server.script("PUT", "/old", redirects(f"{server.url}/new/../x%2f?s=%2f", status))
    assert engine.put(f"{server.url}/old?s", window, never).ok
    assert server.requests[1].target == "/new/../x%2f?s=%2f"
    assert [request.body for request in server.requests] == [b"23456", b"23456"]


def test_a_redirect_may_name_a_path_alone(engine: Engine, server: StorageServer) -> None:
    server.objects["/b/./c"] = Stored(b"there")
    server.script("GET", "/a", redirects("/b/./c?s"))
    assert get(engine, f"{server.url}/a?x")[1] == b"there"


def test_other_redirects_are_not_followed(engine: Engine, server: StorageServer) -> None:
    server.script("GET", "/a", redirects(f"{server.url}/b", 302))
    assert get(engine, f"{server.url}/a")[0].status == 302
    assert len(server.requests) == 1


def test_redirects_without_end_are_given_up(engine: Engine, server: StorageServer) -> None:
    server.script("GET", "/a", *[redirects(f"{server.url}/a?SECRET")] * 9)
    with pytest.raises(TransferError, match="too often") as caught:
        get(engine, f"{server.url}/a")
    assert len(server.requests) == 4
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("location", ["http://169.254.169.254/x", "file:///etc/passwd", "x"])
def test_a_redirect_meets_the_guard(engine: Engine, server: StorageServer, location: str) -> None:
    server.script("GET", "/a", redirects(location))
    with pytest.raises(AddressRefusedError):
        get(engine, f"{server.url}/a")


def test_loopback_is_refused_unless_allowed(server: StorageServer) -> None:
    engine = Engine()
    with pytest.raises(AddressRefusedError, match="local"):
        get(engine, f"{server.url}/a")
    assert not server.requests


def test_the_name_that_was_checked_is_the_one_that_is_connected_to(
    engine: Engine, server: StorageServer
) -> None:
    server.objects["/k"] = Stored(b"x")
    url = f"http://localhost:{server.port}/k"
    engine._resolved[f"http://localhost:{server.port}"] = (time.monotonic() + 60, ("127.0.0.2",))
    with pytest.raises(StorageUnreachableError):
        get(engine, url)  # nothing listens there
    assert get(engine, url)[1] == b"x"


def test_an_error_body_is_cut_and_the_sink_does_not_see_it(
    engine: Engine, server: StorageServer
) -> None:
    server.script("GET", "/a", answers(403, body=b"e" * 1_000_000))
    answer, taken = get(engine, f"{server.url}/a")
    assert (answer.status, len(answer.body), taken) == (403, 65536, b"")


def test_stored_gzip_is_delivered_undecoded(engine: Engine, server: StorageServer) -> None:
    server.objects["/z"] = Stored(b"\x1f\x8b no gzip", headers={"Content-Encoding": "gzip"})
    assert get(engine, f"{server.url}/z")[1] == b"\x1f\x8b no gzip"


@pytest.mark.parametrize("method", ["put", "get"])
def test_a_silent_transfer_stops_when_it_is_aborted(
    engine: Engine, server: StorageServer, window: BinaryWindow, method: str
) -> None:
    server.script(method.upper(), "/a", stalls)
    stop = threading.Event()
    failures: list[Exception] = []

    def transfer() -> None:
        try:
            if method == "put":
                engine.put(f"{server.url}/a?SECRET", window, stop.is_set)
            else:
                engine.get(f"{server.url}/a?SECRET", sink=Collector(), abort=stop.is_set)
        except TransferError as error:
            failures.append(error)

    thread = threading.Thread(target=transfer)
    thread.start()
    assert server.stalled.wait(10)
    stop.set()
    thread.join(10)
    assert isinstance(failures[0], AbortedError)
    assert "SECRET" not in str(failures[0])


def test_a_transfer_that_moves_nothing_fails(server: StorageServer, options: EngineOptions) -> None:
    server.script("GET", "/a", stalls)
    engine = Engine(replace(options, low_speed_seconds=1))
    with pytest.raises(StorageUnreachableError):
        get(engine, f"{server.url}/a")
    engine.close()


def test_a_file_that_ends_inside_the_window_has_changed(
    engine: Engine, server: StorageServer, window: BinaryWindow
) -> None:
    with pytest.raises(SourceChangedError):
        engine.put(f"{server.url}/a", replace(window, size=50), never)


def test_what_the_sink_raises_comes_out(engine: Engine, server: StorageServer) -> None:
    class Full(Collector):
        def write(self, data: memoryview) -> None:
            raise OSError(28, "No space left on device")

    server.objects["/a"] = Stored(b"x" * 100_000)
    with pytest.raises(OSError, match="No space"):
        engine.get(f"{server.url}/a", sink=Full(), abort=never)


def test_a_body_that_is_refused_is_not_read_to_its_end(
    engine: Engine, server: StorageServer
) -> None:
    class Picky(Collector):
        def begin(self, answer: Answer) -> bool:
            raise TransferError(f"not {answer.status}")

    server.objects["/a"] = Stored(Zeros(1 << 50))
    with pytest.raises(TransferError, match="not 200"):
        engine.get(f"{server.url}/a", sink=Picky(), abort=never)


def test_what_came_before_a_connection_broke_is_taken(
    engine: Engine, server: StorageServer
) -> None:
    server.objects["/a"] = Stored(bytes(range(256)) * 4)
    server.script("GET", "/a", cuts_short(300))
    sink = Collector()
    with pytest.raises(StorageUnreachableError):
        engine.get(f"{server.url}/a", sink=sink, abort=never, start=0, end=999)
    assert sink.data == (bytes(range(256)) * 2)[:300]


def test_a_digest_is_that_of_the_bytes_that_were_sent_last(
    engine: Engine, server: StorageServer, window: BinaryWindow
) -> None:
    server.script("PUT", "/k", Dialogue.serve, Dialogue.reset, redirects(f"{server.url}/l"))
    seen = Seen()
    for _ in range(3):
        assert engine.put(f"{server.url}/k", window, never, digest=seen).ok
        assert seen.data == b"23456"


def test_a_url_signed_with_headers_that_are_not_sent_is_told_before_sending(
    engine: Engine, server: StorageServer, window: BinaryWindow
) -> None:
    url = f"{server.url}/k?X-Amz-SignedHeaders=content-type%3Bhost%3Bx-amz-acl&X-Amz-Signature=S1G"
    with pytest.raises(TransferError, match=r"not sent: content-type, x-amz-acl$") as caught:
        engine.put(url, window, never)
    assert "S1G" not in str(caught.value)
    assert not server.requests


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
@pytest.mark.parametrize("host", ["[::1]", "localhost"])
def test_ipv6_addresses_are_pinned_too(options: EngineOptions, host: str) -> None:
    with StorageServer(host="::1") as server:
        server.objects["/k"] = Stored(b"six")
        engine = Engine(options)
        engine._resolved[f"http://localhost:{server.port}"] = (time.monotonic() + 60, ("::1",))
        assert get(engine, f"http://{host}:{server.port}/k")[1] == b"six"
        engine.close()


def test_bandwidth_is_shared(
    server: StorageServer, options: EngineOptions, window: BinaryWindow
) -> None:
    engine = Engine(replace(options, bandwidth=100_000))
    server.objects["/a"] = Stored(bytes(30_000))
    begun = time.monotonic()
    for _ in range(2):
        get(engine, f"{server.url}/a")
    assert time.monotonic() - begun > 0.2
    engine.close()


def test_nothing_of_the_query_is_logged(
    engine: Engine, server: StorageServer, caplog: pytest.LogCaptureFixture, window: BinaryWindow
) -> None:
    caplog.set_level(logging.DEBUG)
    server.script("PUT", "/a", Dialogue.reset)
    with pytest.raises(StorageUnreachableError) as caught:
        engine.put(f"{server.url}/a?SECRET", window, never)
    assert "SECRET" not in caplog.text + str(caught.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"), "127.0.0.1")


def test_a_certificate_is_trusted_by_the_bundle_alone(
    certificate: Path, options: EngineOptions, window: BinaryWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StorageServer(certificate=certificate) as server:
        stranger, friend = Engine(options), Engine(replace(options, ca_bundle=certificate))
        with pytest.raises(CertificateError):
            stranger.put(f"{server.url}/k", window, never)
        assert friend.put(f"{server.url}/a/../b%2f", window, never).ok
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        by_environment = Engine(options)
        assert by_environment.put(f"{server.url}/k", window, never).ok
        assert server.requests[0].target == "/a/../b%2f"
        for engine in (stranger, friend, by_environment):
            engine.close()


def test_a_tunnel_leads_to_the_store_and_the_proxy_sees_no_url(
    certificate: Path, server: StorageServer, options: EngineOptions, window: BinaryWindow
) -> None:
    with StorageServer(certificate=certificate) as store:
        server.script("CONNECT", "", tunnels_to(store.port))
        engine = Engine(replace(options, proxy=server.url, ca_bundle=certificate))
        assert engine.put(f"{store.url}/a/../b%2f?s=%2f", window, never).ok
        engine.close()
        assert store.requests[0].line == "PUT /a/../b%2f?s=%2f HTTP/1.1"
        assert store.requests[0].body == b"23456"
        assert [request.line for request in server.requests] == [
            f"CONNECT 127.0.0.1:{store.port} HTTP/1.1"
        ]


def test_a_redirect_from_https_to_http_is_refused(
    certificate: Path, options: EngineOptions
) -> None:
    with StorageServer(certificate=certificate) as server:
        engine = Engine(replace(options, ca_bundle=certificate))
        server.script("GET", "/a", redirects("http://127.0.0.1/a?SECRET"))
        with pytest.raises(AddressRefusedError, match="https to http"):
            get(engine, f"{server.url}/a")
        engine.close()
