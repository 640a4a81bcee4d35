"""The rules of presigned URLs, one by one, each against a server that does what a script says.

The numbers are those of the rules that were found by trying real stores and real clients.
"""

from __future__ import annotations

import logging
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from plugin_framework.errors import (
    AddressRefusedError,
    StorageError,
    StorageUnreachableError,
    TransferError,
    UnusableAnswerError,
)
from plugin_framework.protocol.client import DatahubClient
from plugin_framework.protocol.models import UploadRequest
from plugin_framework.transfer.download import download_file
from plugin_framework.transfer.engine import Engine, EngineOptions
from plugin_framework.transfer.plan import MIB
from plugin_framework.transfer.remote_file import RemoteFile
from plugin_framework.transfer.upload import upload_file
from tests.scripted_server import Exchange, ScriptedServer, Step, answer, ok, raw, reset
from tests.transfer.scripted_store import (
    CANARY,
    ETAG,
    QUERY,
    STORED,
    Api,
    error,
    part,
    serving,
    url_of,
)


@pytest.fixture
def send(engine: Engine, tmp_path: Path) -> Callable[..., list[tuple[int, str]]]:
    """Upload ten bytes, or ``content``, to URLs; returns the parts that were completed."""

    def upload(*urls: str, content: bytes = b"0123456789") -> list[tuple[int, str]]:
        path, api = tmp_path / "source", Api(*urls)
        path.write_bytes(content)
        upload_file(engine, path, name="f", api=api)
        return api.completed

    return upload


@pytest.fixture
def fetch(engine: Engine, tmp_path: Path) -> Callable[[str], bytes]:
    """Download a URL in ranges of ten bytes."""

    def download(url: str) -> bytes:
        return download_file(engine, lambda: url, tmp_path / "target", chunk=10).path.read_bytes()

    return download


def test_1_the_target_goes_out_byte_for_byte(
    send: Callable[..., object], fetch: Callable[[str], bytes]
) -> None:
    with ScriptedServer(STORED, part(b"0123456789", 0, 10)) as server:
        send(url_of(server))
        fetch(url_of(server))
    assert [request.target for request in server.requests] == [f"/b/../k%2f?{QUERY}"] * 2


def test_2_through_a_proxy_too(options: EngineOptions, tmp_path: Path) -> None:
    with ScriptedServer(part(b"0123456789", 0, 10)) as proxy:
        engine = Engine(replace(options, proxy=proxy.url))
        url = f"http://storage.invalid/b/../k%2f?{QUERY}"
        download_file(engine, lambda: url, tmp_path / "target")
        engine.close()
    assert proxy.requests[0].target == f"http://storage.invalid:80/b/../k%2f?{QUERY}"


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{CANARY}@127.0.0.1/k",
        f"http://{CANARY}@127.0.0.1/k?{QUERY}",
        f"http:///k?{QUERY}",
        f"https://?{QUERY}",
        f"ftp://127.0.0.1/k?{QUERY}",
        f"file:///etc/passwd?{QUERY}",
        f"//127.0.0.1/k?{QUERY}",
        f"/k?{QUERY}",
        f"http://127.0.0.1/k?{QUERY}#{CANARY}",
        f"http://127.0.0.1/a b?{QUERY}",
        f"http://127.0.0.1/k\r\nX: 1?{QUERY}",
        f"http://169.254.169.254/latest/meta-data?{QUERY}",
        f"http://[::ffff:a9fe:a9fe]/latest?{QUERY}",
        f"http://2852039166/latest?{QUERY}",
        f"http://0.0.0.0/k?{QUERY}",
    ],
)
def test_3_a_url_that_is_not_to_be_asked_is_one_typed_error(
    engine: Engine, leaks: Callable[[BaseException], str], tmp_path: Path, url: str
) -> None:
    (tmp_path / "source").write_bytes(b"x")
    attempts: list[Callable[[], object]] = [
        lambda: upload_file(engine, tmp_path / "source", name="f", api=Api(url)),
        lambda: download_file(engine, lambda: url, tmp_path / "target"),
        lambda: RemoteFile(engine, lambda: url).size,
    ]
    for attempt in attempts:
        with pytest.raises(AddressRefusedError) as caught:
            attempt()
        assert leaks(caught.value) == ""
    assert not (tmp_path / "target").exists()


def test_4_and_5_no_header_but_what_the_transfer_needs(
    send: Callable[..., object], fetch: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    cookie = answer(b"", headers=[ETAG, ("Set-Cookie", "a=b")])
    with ScriptedServer(cookie, part(b"0123456789", 0, 12), part(b"ab", 10, 12)) as server:
        send(url_of(server))
        fetch(url_of(server))
    assert [[name for name, _ in request.headers] for request in server.requests] == [
        ["Host", "User-Agent", "Content-Length"],
        ["Host", "User-Agent", "Range"],
        ["Host", "User-Agent", "Range", "If-Match"],
    ]


@pytest.mark.parametrize(
    "signed",
    [
        "X-Amz-SignedHeaders=content-md5%3Bhost",
        "x-oss-additional-headers=content-md5",
        "q-header-list=content-md5;host",
        "X-Goog-SignedHeaders=content-md5%3Bhost",
    ],
)
def test_6_a_header_that_was_signed_and_is_not_sent_is_named_before_sending(
    send: Callable[..., object], leaks: Callable[[BaseException], str], signed: str
) -> None:
    with (
        ScriptedServer() as server,
        pytest.raises(TransferError, match=r"not sent: content-md5$") as caught,
    ):
        send(f"{url_of(server)}&{signed}")
    assert server.requests == []
    assert leaks(caught.value) == ""


@pytest.mark.parametrize("content", [b"", b"x", os.urandom(3 * MIB)])
def test_7_the_length_is_always_said(send: Callable[..., object], content: bytes) -> None:
    with ScriptedServer(STORED) as server:
        send(url_of(server), content=content)
    (request,) = server.requests
    assert request.header("content-length") == str(len(content))
    assert request.header("transfer-encoding") is None
    assert request.body == content


def test_8_every_attempt_begins_at_the_start_of_the_part(send: Callable[..., object]) -> None:
    with ScriptedServer(reset(), error(503, "SlowDown"), STORED) as server:
        send(url_of(server))
    assert [request.body for request in server.requests] == [b"0123456789"] * 3


@pytest.mark.parametrize("status", [307, 308])
def test_9_a_redirect_is_followed_to_the_letter_with_the_body_and_no_secrets(
    send: Callable[..., object], status: int
) -> None:
    with ScriptedServer(STORED) as there:
        location = f"{there.url}/c/../%2f?s=%2f"
        with ScriptedServer(answer(b"", status=status, headers=[("Location", location)])) as here:
            send(url_of(here))
    (request,) = there.requests
    assert request.target == "/c/../%2f?s=%2f"
    assert request.body == b"0123456789"
    assert CANARY not in str(request)


@pytest.mark.parametrize("status", [301, 302, 303, 305])
def test_9_other_redirects_are_not_followed(
    send: Callable[..., object], leaks: Callable[[BaseException], str], status: int
) -> None:
    with ScriptedServer() as there:
        moved = answer(b"", status=status, headers=[("Location", f"{there.url}/?{QUERY}")])
        with ScriptedServer(moved) as here, pytest.raises(StorageError) as caught:
            send(url_of(here))
    assert there.requests == []
    assert caught.value.status == status
    assert leaks(caught.value) == ""


def test_10_a_success_without_an_etag_is_none(send: Callable[..., list[tuple[int, str]]]) -> None:
    with ScriptedServer(answer(b""), answer(b"", headers=[("ETag", "")]), STORED) as server:
        assert send(url_of(server)) == [(1, ETAG[1])]
    assert len(server.requests) == 3


@pytest.mark.parametrize("etag", ['"9B2C-3"', 'W/"x"', "bare", '"' + "e" * 32 + '"', '"+/=="'])
def test_11_an_etag_is_kept_as_it_is(send: Callable[..., list[tuple[int, str]]], etag: str) -> None:
    with ScriptedServer(answer(b"", headers=[("ETag", etag)])) as server:
        assert send(url_of(server)) == [(1, etag)]


EXPIRED = {
    "S3": error(403, "AccessDenied", "Request has expired"),
    "S3, session": error(400, "ExpiredToken", "The provided token has expired."),
    "COS": error(403, "AccessDenied", "Request has expired"),
    "radosgw": error(403, "AccessDenied"),
    "mute": error(403),
    "rclone": error(400, "InvalidRequest", "presigned URL has expired"),
    "OSS": error(403, "AccessDenied", "Request has expired."),
    "OSS, session": error(403, "SecurityTokenExpired", "The security token has expired."),
    "clock": error(403, "RequestTimeTooSkewed", "The difference is too large."),
}


@pytest.mark.parametrize("store", EXPIRED)
def test_12_a_url_that_may_have_expired_is_renewed_once_and_then_the_code_is_said(
    engine: Engine, leaks: Callable[[BaseException], str], tmp_path: Path, store: str
) -> None:
    with ScriptedServer(EXPIRED[store], part(b"0123456789", 0, 10)) as server:
        urls = [url_of(server, "/old"), url_of(server, "/new")]
        download_file(engine, lambda: urls.pop(0), tmp_path / "target")
        assert [request.path for request in server.requests] == ["/old", "/new"]
    with ScriptedServer(then=EXPIRED[store]) as server:
        with pytest.raises(StorageError) as caught:
            download_file(engine, lambda: url_of(server), tmp_path / "target")
        assert len(server.requests) == 2
    named = [None, None] if store == "mute" else ["R-7", caught.value.store_code]
    assert [caught.value.request_id, caught.value.store_code] == named
    assert all(word in str(caught.value) for word in named if word)
    assert leaks(caught.value) == ""


@pytest.mark.parametrize(
    "refused",
    [
        error(403, "SignatureDoesNotMatch"),
        error(403, "InvalidAccessKeyId"),
        error(404, "NoSuchKey"),
    ],
)
def test_12_what_no_fresh_url_mends_is_final_at_once(
    fetch: Callable[[str], bytes], leaks: Callable[[BaseException], str], refused: Step
) -> None:
    with ScriptedServer(then=refused) as server:
        with pytest.raises(StorageError, match=r"40[34] \w+ \(request id R-7\)") as caught:
            fetch(url_of(server))
        assert len(server.requests) == 1
    assert leaks(caught.value) == ""


@pytest.mark.parametrize(
    "passing",
    [
        error(408),
        error(429, "TooManyRequests"),
        error(500, "InternalError"),
        error(502),
        error(503, "SlowDown"),
        error(504),
        error(400, "RequestTimeout", "Your socket connection was not read from in time."),
        reset(),
        raw(b""),
        raw(b"nonsense\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
        raw(b"HTTP/9.9 200 OK\r\n\r\n"),
    ],
)
def test_13_what_may_pass_is_tried_again_with_the_same_part(
    send: Callable[..., object], passing: Step
) -> None:
    with ScriptedServer(passing, passing, STORED) as server:
        send(url_of(server))
    assert [request.body for request in server.requests] == [b"0123456789"] * 3


@pytest.mark.parametrize("final", [400, 401, 405, 409, 411, 501])
def test_13_what_does_not_pass_is_not_tried_again(send: Callable[..., object], final: int) -> None:
    with ScriptedServer(then=error(final, "Refused")) as server:
        with pytest.raises(StorageError, match=f"{final} Refused"):
            send(url_of(server))
        assert len(server.requests) == 1


def test_14_fewer_ranges_at_once_where_the_store_has_too_much_to_do(
    options: EngineOptions, tmp_path: Path
) -> None:
    content = os.urandom(80)
    together, lock, now = threading.Barrier(4), threading.Lock(), [0, 0]

    def overloaded(exchange: Exchange) -> bool:
        together.wait(20)  # all four are under way before the first is refused
        return error(503, "SlowDown")(exchange)

    def counted(exchange: Exchange) -> bool:
        with lock:
            now[0] += 1
            now[1] = max(now)
        keep = serving(content)(exchange)
        with lock:
            now[0] -= 1
        return keep

    first = serving(content)
    engine = Engine(replace(options, concurrency=4, backoff=0.1))
    with ScriptedServer(first, *[overloaded] * 4, then=counted) as server:
        target = tmp_path / "target"
        download_file(engine, lambda: url_of(server), target, chunk=10)
    engine.close()
    assert target.read_bytes() == content
    assert now[1] <= 2


def test_15_fewer_urls_than_parts_are_refused_and_named_by_number(
    send: Callable[..., object], leaks: Callable[[BaseException], str]
) -> None:
    with ScriptedServer() as server, pytest.raises(TransferError, match="URLs") as caught:
        send(content=b"x")
    assert server.requests == []
    assert leaks(caught.value) == ""


@pytest.mark.parametrize(
    "listed",
    [
        [{"index": 1, "url": f"http://s/1?{QUERY}"}, {"index": 3, "url": f"http://s/3?{QUERY}"}],
        [{"index": 1, "url": f"http://s/1?{QUERY}"}, {"index": 1, "url": f"http://s/2?{QUERY}"}],
        [{"index": 0, "url": f"http://s/1?{QUERY}"}],
        [{"index": "1", "url": [f"http://s/1?{QUERY}"]}],
        [f"http://s/1?{QUERY}", None],
        [],
        f"http://s/1?{QUERY}",
    ],
    ids=["gap", "repeat", "zero", "list", "null", "empty", "text"],
)
def test_15_a_part_list_that_makes_no_sense_is_one_typed_error(
    leaks: Callable[[BaseException], str], listed: object
) -> None:
    with ScriptedServer(then=ok({"upload_id": "u", "part_upload_urls": listed})) as server:
        client = DatahubClient(server.url)
        request = UploadRequest(subtask_id="s", file_name="f", file_size=1, chunk_size=None)
        with pytest.raises(UnusableAnswerError) as caught:
            client.upload_init(request, patience=0)
        client.close()
    assert leaks(caught.value) == ""


def test_16_ranges_go_by_if_match_and_a_412_starts_over(fetch: Callable[[str], bytes]) -> None:
    new = ("ETag", '"new"')
    with ScriptedServer(
        part(b"0123456789", 0, 12),
        error(412, "PreconditionFailed"),
        part(b"abcdefghij", 0, 12, new),
        part(b"kl", 10, 12, new),
    ) as server:
        assert fetch(url_of(server)) == b"abcdefghijkl"
    assert [request.header("if-match") for request in server.requests] == [
        None,
        ETAG[1],
        None,
        '"new"',
    ]
    assert {request.header("if-range") for request in server.requests} == {None}


@pytest.mark.parametrize(
    "wrong",
    [
        answer(b"kl", status=206, headers=[ETAG]),
        part(b"kl", 9, 12),
        part(b"klm", 10, 13),
        part(b"kl", 10, 12, ("ETag", '"other"')),
        answer(b"kl", status=206, headers=[ETAG, ("Content-Range", "bytes 10-11/*")]),
        answer(b"kl", status=206, headers=[ETAG, ("Content-Range", f"bytes 10-11/{'9' * 5000}")]),
        answer(b"k", status=206, headers=[ETAG, ("Content-Range", "bytes 10-11/12")]),
        answer(b"klm", status=206, headers=[ETAG, ("Content-Range", "bytes 10-11/12")]),
        raw(b'HTTP/1.1 206 P\r\nETag: "9B2c-7"\r\nContent-Range: bytes 10-11/12\r\n\r\nk'),
    ],
    ids=["none", "start", "total", "etag", "star", "digits", "short", "long", "cut"],
)
def test_16_every_answer_to_a_range_is_checked(fetch: Callable[[str], bytes], wrong: Step) -> None:
    """Whatever comes between, the file is the one that a well-behaved answer gives."""
    content = b"abcdefghijkl"
    with ScriptedServer(part(content[:10], 0, 12), wrong, then=serving(content)) as server:
        assert fetch(url_of(server)) == content


def test_17_the_whole_for_a_range_is_taken_from_the_start_and_never_appended(
    fetch: Callable[[str], bytes],
) -> None:
    whole = answer(b"abcdefghijkl", headers=[ETAG])
    with ScriptedServer(part(b"abcdefghij", 0, 12), then=whole) as server:
        assert fetch(url_of(server)) == b"abcdefghijkl"
    assert [request.header("range") for request in server.requests] == [
        "bytes=0-9",
        "bytes=10-11",
        None,
    ]


def test_18_stored_bytes_are_not_decoded(fetch: Callable[[str], bytes]) -> None:
    stored = b"\x1f\x8b is no gzip"
    encoded = ("Content-Encoding", "gzip")
    with ScriptedServer(
        part(stored[:10], 0, len(stored), ETAG, encoded),
        part(stored[10:], 10, len(stored), ETAG, encoded),
    ) as server:
        assert fetch(url_of(server)) == stored
    assert {request.header("accept-encoding") for request in server.requests} == {None}


def test_19_there_is_no_head_and_a_416_is_an_empty_object(
    engine: Engine, fetch: Callable[[str], bytes]
) -> None:
    empty = answer(b"", status=416, headers=[("Content-Range", "bytes */0")])
    with ScriptedServer(empty, empty, part(b"a", 0, 7)) as server:
        assert fetch(url_of(server)) == b""
        assert RemoteFile(engine, lambda: url_of(server)).size == 0
        assert RemoteFile(engine, lambda: url_of(server)).size == 7
    assert [(request.method, request.header("range")) for request in server.requests] == [
        ("GET", "bytes=0-9"),
        ("GET", "bytes=0-0"),
        ("GET", "bytes=0-0"),
    ]


def test_20_an_error_document_in_a_200_is_an_error(
    send: Callable[..., list[tuple[int, str]]],
    fetch: Callable[[str], bytes],
    leaks: Callable[[BaseException], str],
) -> None:
    with ScriptedServer(error(200, "InternalError"), STORED) as server:
        assert send(url_of(server)) == [(1, ETAG[1])]
    for attempt in (send, fetch):
        with ScriptedServer(then=error(200, "NoSuchUpload")) as server:
            with pytest.raises(
                StorageError, match=r"200 NoSuchUpload \(request id R-7\)"
            ) as caught:
                attempt(url_of(server))
            assert leaks(caught.value) == ""


@pytest.mark.parametrize(
    "step", [reset(), raw(b""), raw(b"nonsense\r\n\r\n")], ids=["reset", "closed", "nonsense"]
)
def test_21_no_failure_shows_the_query(
    options: EngineOptions, leaks: Callable[[BaseException], str], tmp_path: Path, step: Step
) -> None:
    engine = Engine(replace(options, attempts=2))
    with ScriptedServer(then=step) as server, pytest.raises(TransferError) as caught:
        download_file(engine, lambda: url_of(server), tmp_path / "target")
    engine.close()
    assert isinstance(caught.value, StorageUnreachableError)
    assert leaks(caught.value) == ""


@pytest.fixture
def leaks(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[BaseException], str]]:
    """Where the canary of the query shows: nowhere, if all is well."""
    caplog.set_level(logging.DEBUG)

    def found(error: BaseException) -> str:
        shown = {
            "str": str(error),
            "repr": repr(error),
            "fields": repr(vars(error)),
            "traceback": "".join(traceback.format_exception(error)),
            "logs": caplog.text + "".join(repr(record.args) for record in caplog.records),
        }
        return " ".join(name for name, text in shown.items() if CANARY in text)

    yield found
    caplog.clear()
