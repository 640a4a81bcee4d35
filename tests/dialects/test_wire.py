"""Every URL that an SDK signs goes out byte for byte, directly and through proxies."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import trustme

from plugin_framework.transfer.engine import Engine, EngineOptions
from plugin_framework.transfer.exchange import Answer, BinaryWindow
from tests.dialects.keys import HOSTILE_KEYS
from tests.dialects.recorder import Recorder
from tests.dialects.signers import Account, Signed, all_signers, signed_urls

FLOOR = 1_705
"""URLs; fewer would mean that signers or keys have been lost."""


class Nowhere:
    """Takes a body and forgets it."""

    def begin(self, answer: Answer) -> bool:
        return True

    def write(self, data: memoryview) -> object:
        return None


@pytest.fixture(scope="module")
def urls() -> Sequence[Signed]:
    return list(signed_urls(all_signers(Account()), HOSTILE_KEYS))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def window(tmp_path: Path) -> Iterator[BinaryWindow]:
    path = tmp_path / "body"
    path.write_bytes(b"body")
    with path.open("rb") as file:
        yield BinaryWindow(file.fileno(), 0, 4)


def send_all(
    urls: Sequence[Signed], origin: str, window: BinaryWindow, options: EngineOptions
) -> list[bytes]:
    """Send each to ``origin`` in place of its own; the request lines that are due there."""
    engine = Engine(options)
    due = []
    for signed in urls:
        target = target_of(signed.url)
        url = f"{origin}{target}"
        if signed.method == "PUT":
            answer = engine.put(url, window, lambda: False)
        else:
            answer = engine.get(url, sink=Nowhere(), abort=lambda: False)
        assert answer.status == 200
        due.append(f"{signed.method} {target} HTTP/1.1".encode("ascii"))
    engine.close()
    return due


def assert_bare(server: Recorder, *for_the_proxy: bytes) -> None:
    """No header that a store might have wanted signed."""
    bare = {b"Host", b"User-Agent", *for_the_proxy}
    assert server.names == {b"GET": bare, b"PUT": bare | {b"Content-Length"}}


def target_of(url: str) -> str:
    return re.sub("^https?://[^/]+", "", url)


def test_there_are_as_many_as_there_should_be(urls: Sequence[Signed]) -> None:
    assert len(urls) >= FLOOR
    assert len({signed.signer for signed in urls}) == 15
    assert {signed.key for signed in urls} == set(HOSTILE_KEYS)
    dots = [signed for signed in urls if re.search(r"/\.\.?(/|\?)", signed.url)]
    assert len(dots) > 100  # the ones that most clients rewrite


def test_directly(urls: Sequence[Signed], window: BinaryWindow) -> None:
    with Recorder() as server:
        origin = f"http://127.0.0.1:{server.port}"
        due = send_all(urls, origin, window, EngineOptions(allow_private=True))
    assert server.lines == due
    assert server.hosts == {f"Host: 127.0.0.1:{server.port}".encode()}
    assert server.connections == 1
    assert_bare(server)


def test_over_tls(
    urls: Sequence[Signed], window: BinaryWindow, tls: ssl.SSLContext, trusted: Path
) -> None:
    with Recorder(tls=tls) as server:
        options = EngineOptions(allow_private=True, ca_bundle=trusted)
        due = send_all(urls, f"https://127.0.0.1:{server.port}", window, options)
    assert server.lines == due
    assert server.connections == 1
    assert_bare(server)


def test_through_an_http_proxy(urls: Sequence[Signed], window: BinaryWindow) -> None:
    with Recorder(proxy=True) as proxy:
        options = EngineOptions(allow_private=True, proxy=f"http://127.0.0.1:{proxy.port}")
        due = send_all(urls, "http://127.0.0.1:9", window, options)
    assert proxy.lines == [line.replace(b" /", b" http://127.0.0.1:9/", 1) for line in due]
    assert proxy.hosts == {b"Host: 127.0.0.1:9"}
    assert proxy.connections == 1
    assert_bare(proxy, b"Proxy-Connection")


def test_through_a_connect_proxy(
    urls: Sequence[Signed], window: BinaryWindow, tls: ssl.SSLContext, trusted: Path
) -> None:
    with Recorder(tls=tls, proxy=True) as proxy:
        address = f"http://127.0.0.1:{proxy.port}"
        options = EngineOptions(allow_private=True, ca_bundle=trusted, proxy=address)
        due = send_all(urls, "https://127.0.0.1:9", window, options)
    assert proxy.lines == due
    assert proxy.hosts == {b"Host: 127.0.0.1:9"}
    assert proxy.connections == 1
    assert_bare(proxy)
