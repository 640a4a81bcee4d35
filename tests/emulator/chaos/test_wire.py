"""What the framework's own clients see of each fault: httpx for the API, libcurl for storage.

On real sockets, behind both of the parsers that uvicorn may use.
"""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from plugin_framework.errors import (
    ConnectionFailedError,
    InvalidAnswerError,
    RetryableError,
    ServerUnavailableError,
    StorageUnreachableError,
)
from plugin_framework.protocol.client import DatahubClient
from plugin_framework.protocol.credentials import Credentials
from plugin_framework.transfer.engine import Engine, EngineOptions
from plugin_framework.transfer.exchange import Answer, BinaryWindow
from tests.emulator.calling import Plugin, send
from tests.emulator.chaos.serving import KEY, SECRET, Served, served

SIZE = 3_000_000
CONTENT = bytes(range(250)) * (SIZE // 250)


@pytest.fixture(scope="module", params=["h11", "httptools"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("hub")
    (folder / "input.bin").write_bytes(CONTENT)
    with served(folder, http=request.param) as running:
        running.store.create_subtask("s", input=folder / "input.bin")
        running.plugin.status("s", 1)
        yield running


@pytest.fixture
def hub(server: Served) -> Iterator[Served]:
    yield server
    server.chaos.clear()


@pytest.fixture
def client(hub: Served) -> Iterator[DatahubClient]:
    credentials = Credentials(KEY, SecretStr(SECRET))
    with DatahubClient(hub.url, credentials=credentials, request_deadline=0.5) as made:
        yield made


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = Engine(EngineOptions(allow_private=True))
    yield made
    made.close()


class Sink:
    """Keeps what comes."""

    def __init__(self) -> None:
        self.got = bytearray()

    def begin(self, answer: Answer) -> bool:
        return answer.ok

    def write(self, data: memoryview) -> None:
        self.got += data


def get(hub: Served, engine: Engine, sink: Sink, *rules: dict[str, Any]) -> Answer:
    """All but the last byte, as a range."""
    hub.chaos.clear()
    url = hub.plugin.download_url("s")
    hub.set(*rules)
    return engine.get(url, sink=sink, abort=lambda: False, start=0, end=SIZE - 2)


def put(hub: Served, engine: Engine, folder: Path, *rules: dict[str, Any]) -> Answer:
    (folder / "output.bin").write_bytes(CONTENT)
    hub.chaos.clear()
    (part,) = hub.plugin.init("s", SIZE).data["part_upload_urls"]
    hub.set(*rules)
    with (folder / "output.bin").open("rb") as file:
        return engine.put(part["url"], BinaryWindow(file.fileno(), 0, SIZE), lambda: False)


def beats(hub: Served) -> int:
    return sum(event.kind == "heartbeat" for event in hub.store.events("s"))


BROKEN = "the connection broke before the whole answer came"
NO_JSON = "the answer is not the protocol's JSON"


@pytest.mark.parametrize(
    ("rule", "error", "said", "applied"),
    [
        ({"fault": "reset"}, ConnectionFailedError, BROKEN, False),
        ({"fault": "reset", "applied": True}, ConnectionFailedError, BROKEN, True),
        ({"fault": "reset", "applied": True, "bytes": 9}, ConnectionFailedError, BROKEN, True),
        ({"fault": "outage"}, ConnectionFailedError, BROKEN, False),
        ({"fault": "hang"}, ConnectionFailedError, "no whole answer in time", False),
        ({"fault": "hang", "seconds": 0.1}, ConnectionFailedError, BROKEN, False),
        ({"fault": "truncate", "bytes": 9}, ConnectionFailedError, BROKEN, True),
        ({"fault": "truncate", "length": "cut"}, InvalidAnswerError, NO_JSON, True),
        ({"fault": "garbage"}, InvalidAnswerError, NO_JSON, False),
        ({"fault": "garbage", "applied": True}, InvalidAnswerError, NO_JSON, True),
        ({"fault": "garbage", "kind": "bytes"}, InvalidAnswerError, NO_JSON, False),
        ({"fault": "garbage", "kind": "gzip"}, InvalidAnswerError, NO_JSON, False),
        ({"fault": "garbage", "kind": "header"}, InvalidAnswerError, "not HTTP", False),
        ({"fault": "garbage", "kind": "status_line"}, InvalidAnswerError, "not HTTP", False),
        ({"fault": "status", "status": 502}, ServerUnavailableError, "HTTP 502", False),
        ({"fault": "code", "code": 500}, ServerUnavailableError, "HTTP 200, code 500", False),
    ],
    ids=str,
)
def test_calls(
    rule: dict[str, Any],
    error: type[RetryableError],
    said: str,
    applied: bool,  # noqa: FBT001 - a parameter of the test
    hub: Served,
    client: DatahubClient,
) -> None:
    before = beats(hub)
    hub.set(rule)
    with pytest.raises(error, match=said) as caught:
        client.heartbeat("s", 50)
    assert caught.value.unknown_outcome
    assert beats(hub) == before + applied
    hub.chaos.clear()
    client.heartbeat("s", 50)


@pytest.mark.parametrize(("given", "read"), [(2, 2.0), ("0.5", 0.5), ("soon", None), (999, 300.0)])
def test_retry_after(given: Any, read: float | None, hub: Served, client: DatahubClient) -> None:
    hub.set({"fault": "status", "status": 429, "retry_after": given, "message": "too much"})
    with pytest.raises(ServerUnavailableError, match="too much") as caught:
        client.heartbeat("s", 50)
    assert (caught.value.retry_after, caught.value.unknown_outcome) == (read, False)


@pytest.mark.parametrize("at", ["request", "body", "answer"])
def test_delays(at: str, hub: Served, client: DatahubClient) -> None:
    hub.set({"fault": "delay", "seconds": 0.1, "at": at})
    before = time.monotonic()
    client.heartbeat("s", 50)
    assert time.monotonic() - before >= 0.1


@pytest.mark.parametrize(
    ("rule", "said", "least", "most"),
    [
        ({"fault": "reset"}, "reset by peer", 0, 0),
        ({"fault": "reset", "applied": True, "bytes": 10**6}, "reset by peer", 0, 10**6),
        ({"fault": "truncate"}, "end of response with 1500000 bytes missing", 1499999, 1499999),
        ({"fault": "truncate", "bytes": 7}, "bytes missing", 7, 7),
        ({"fault": "hang", "seconds": 0.05}, "Empty reply", 0, 0),
        ({"fault": "garbage", "kind": "status_line"}, "status line|HTTP/0.9", 0, 0),
        ({"fault": "garbage", "kind": "header"}, "grew larger than allowed", 0, 0),
    ],
    ids=str,
)
def test_downloads_that_break(
    rule: dict[str, Any], said: str, least: int, most: int, hub: Served, engine: Engine
) -> None:
    sink = Sink()
    with pytest.raises(StorageUnreachableError, match=said):
        get(hub, engine, sink, rule)
    assert least <= len(sink.got) <= most
    assert CONTENT.startswith(sink.got)


def test_downloads_that_are_answered(hub: Served, engine: Engine) -> None:
    right = get(hub, engine, sink := Sink())
    assert (right.status, bytes(sink.got)) == (206, CONTENT[:-1])
    cut = get(hub, engine, sink := Sink(), {"fault": "truncate", "length": "cut"})
    assert (cut.status, len(sink.got), cut.headers["content-length"]) == (206, 1499999, "1499999")
    whole = get(hub, engine, sink := Sink(), {"fault": "ignore_range"})
    assert (whole.status, bytes(sink.got)) == (200, CONTENT)
    assert "content-range" not in whole.headers
    other = get(hub, engine, sink := Sink(), {"fault": "wrong_etag"})
    assert other.headers["etag"] != right.headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]{32}-1"', other.headers["etag"])
    assert bytes(sink.got) == CONTENT[:-1]
    assert "etag" not in get(hub, engine, Sink(), {"fault": "wrong_etag", "etag": "none"}).headers


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"fault": "reset"}, "reset by peer|Broken pipe"),
        ({"fault": "reset", "bytes": 10**6}, "reset by peer|Broken pipe"),
        ({"fault": "reset", "applied": True}, "reset by peer"),
        ({"fault": "hang", "seconds": 0.05}, "Empty reply|reset by peer|Broken pipe"),
    ],
    ids=str,
)
def test_uploads_that_break(
    rule: dict[str, Any], said: str, hub: Served, engine: Engine, tmp_path: Path
) -> None:
    with pytest.raises(StorageUnreachableError, match=said):
        put(hub, engine, tmp_path, rule)


def test_uploads_that_are_answered(hub: Served, engine: Engine, tmp_path: Path) -> None:
    assert (
        put(hub, engine, tmp_path, {"fault": "slow_down", "retry_after": 3}).headers["retry-after"]
        == "3"
    )
    refused = put(hub, engine, tmp_path, {"fault": "status", "status": 500, "applied": True})
    assert (refused.status, b"InternalError" in refused.body) == (500, True)
    named = {"fault": "status", "status": 400, "error": "RequestTimeout", "message": "late"}
    refused = put(hub, engine, tmp_path, named)
    assert b"<Code>RequestTimeout</Code><Message>late</Message>" in refused.body
    assert "etag" not in put(hub, engine, tmp_path, {"fault": "wrong_etag", "etag": "none"}).headers


@pytest.mark.parametrize("way", ["get", "put"])
def test_trickles_and_pauses_in_mid_body(
    way: str, hub: Served, engine: Engine, tmp_path: Path
) -> None:
    def moved(*rules: dict[str, Any]) -> float:
        before = time.monotonic()
        if way == "get":
            get(hub, engine, sink := Sink(), *rules)
            assert bytes(sink.got) == CONTENT[:-1]
        else:
            assert put(hub, engine, tmp_path, *rules).headers["etag"]
        return time.monotonic() - before

    assert moved({"fault": "trickle", "bytes_per_second": SIZE * 10}) >= 0.1
    assert moved({"fault": "delay", "at": "body", "seconds": 0.1}) >= 0.1


def test_a_reset_is_no_polite_end(hub: Served) -> None:
    """RST, not FIN: what a client takes for the end of an answer is something else."""
    for rule, ends in (({"fault": "reset"}, False), ({"fault": "hang", "seconds": 0.05}, True)):
        hub.set(rule)
        with socket.create_connection(("127.0.0.1", int(hub.url.rpartition(":")[2]))) as raw:
            raw.settimeout(20)
            raw.sendall(b"GET /api/task/notify?task_id=s HTTP/1.1\r\nHost: localhost\r\n\r\n")
            try:
                polite = raw.recv(1) == b""
            except ConnectionResetError:
                polite = False
        assert polite is ends


def test_an_outage_ends_what_is_under_way(hub: Served) -> None:
    slow = {"fault": "trickle", "bytes_per_second": SIZE // 30, "name": "slow"}
    url, begun = hub.plugin.download_url("s"), threading.Event()
    hub.set(slow)

    def watch() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", int(hub.url.rpartition(":")[2]))
        connection.request("GET", url.removeprefix(hub.url))
        answer = connection.getresponse()
        answer.read(1)
        begun.set()
        with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
            answer.read()
        connection.close()

    thread = threading.Thread(target=watch)
    thread.start()
    assert begun.wait(20)
    hub.chaos.set({"rules": [slow, {"fault": "outage"}]}, keep=True)
    thread.join(20)
    assert not thread.is_alive()


def test_what_the_timeline_says(hub: Served, client: DatahubClient) -> None:
    before = len(hub.faults_of("s"))
    url = hub.plugin.init("s", 5, "out.csv").data["part_upload_urls"][0]["url"]
    hub.set(
        {"name": "parts", "fault": "slow_down", "object": "out*"},
        {"name": "asked", "fault": "delay", "seconds": 0, "call": "notify", "at": "answer"},
        {"name": "nobody's", "fault": "code", "code": 1, "call": "heartbeat"},
    )
    assert send("PUT", url, b"12345").status == 503
    client.notify("s")
    assert Plugin(hub.url).beat("unknown").json["code"] == 1
    assert hub.faults_of("s")[before:] == [
        {"rule": "parts", "fault": "slow_down", "call": "put", "file": "out.csv"},
        {"rule": "asked", "fault": "delay", "seconds": 0, "at": "answer", "call": "notify"},
    ]
    assert hub.injected() == [1, 1, 1]


@pytest.mark.parametrize("dialect", ["s3", "s3-v2", "oss", "oss-v1", "cos"])
def test_each_dialect_in_its_own_words(dialect: str, tmp_path: Path) -> None:
    (tmp_path / "input.bin").write_bytes(b"12345")
    with served(tmp_path, dialect=dialect) as hub:
        hub.store.create_subtask("s", input=tmp_path / "input.bin")
        url = hub.plugin.download_url("s")
        hub.set({"fault": "expire"})
        expired = send("GET", url)
        assert expired.s3_error == (403, "AccessDenied")
        assert expired.element("Message").startswith("Request has expired")
        hub.set({"fault": "slow_down"})
        slow = send("GET", url)
        assert slow.s3_error == (503, "SlowDown")
        kind = dialect.partition("-")[0]
        header = {"s3": "x-amz-request-id"}.get(kind, f"x-{kind}-request-id")
        assert slow.headers[header] == slow.element("RequestId")
        assert ("HostId" in slow.body.decode()) is (kind != "cos")
        hub.chaos.clear()
        assert send("GET", url).body == b"12345"
