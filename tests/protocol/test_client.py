"""What the client puts on the wire, and what it makes of right answers."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import pytest
import stamina
from pydantic import SecretStr

from plugin_framework.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectionFailedError,
    DatahubError,
    InvalidAnswerError,
    InvalidResultError,
)
from plugin_framework.protocol.client import (
    DatahubClient,
    result_report,
    status_report,
)
from plugin_framework.protocol.credentials import Credentials
from plugin_framework.protocol.models import (
    CompletedPart,
    TaskStatus,
    UploadCompletion,
    UploadRequest,
)
from plugin_framework.protocol.signing import signature_is_valid
from tests.scripted_server import (
    Exchange,
    Request,
    ScriptedServer,
    Step,
    answer,
    drip,
    envelope,
    ok,
    raw,
    reset,
    silence,
    status,
    then_close,
)

SECRET = "canary-secret-4711"
SIGNING = Credentials(key="key-1", secret=SecretStr(SECRET))
BEARER = Credentials(secret=SecretStr(SECRET), token=SecretStr("canary-token-4712"))


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=5):
        yield


def http_date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")


def is_signed(request: Request) -> bool:
    return signature_is_valid(
        request.header("D-SIGNATURE") or "",
        [SECRET],
        dict(parse_qsl(request.target.partition("?")[2], strict_parsing=False)),
        request.body,
        request.header("D-TIMESTAMP") or "",
    )


UPLOAD = UploadRequest(subtask_id="s", file_name="ü.csv", file_size=7)
COMPLETION = UploadCompletion(
    upload_id="u", subtask_id="s", parts=(CompletedPart(index=1, etag='"e"'),)
)
CALLS: list[tuple[Callable[[DatahubClient], Any], str, Any, bytes]] = [
    (
        lambda client: client.update_status("s", TaskStatus.RUNNING),
        "POST /api/task/update_status",
        None,
        b'{"subtask_id":"s","status":1}',
    ),
    (
        lambda client: client.heartbeat("s", 50),
        "POST /api/task/heartbeat",
        None,
        b'{"subtask_id":"s","timestamp":1704067200,"process":50}',
    ),
    (
        lambda client: client.result("s", {"ok": "jä"}),
        "POST /api/task/result",
        None,
        '{"subtask_id":"s","result":{"ok":"jä"}}'.encode(),
    ),
    (
        lambda client: client.notify("t 1&2=ü"),
        "GET /api/task/notify?task_id=t%201%262%3D%C3%BC",
        {"status": 4},
        b"",
    ),
    (
        lambda client: client.upload_init(UPLOAD),
        "POST /api/task/upload/init",
        {"upload_id": "u", "part_upload_urls": ["https://store/1"]},
        '{"subtask_id":"s","file_name":"ü.csv","file_size":7}'.encode(),
    ),
    (
        lambda client: client.upload_complete(COMPLETION),
        "POST /api/task/upload/complete",
        {"file_url": "https://store/file"},
        b'{"upload_id":"u","subtask_id":"s","parts":[{"index":1,"etag":"\\"e\\""}]}',
    ),
    (
        lambda client: client.download_presign("s+/%"),
        "GET /api/task/download/presign?subtask_id=s%2B%2F%25",
        {"download_url": "https://store/file?sig=1"},
        b"",
    ),
]


@pytest.mark.parametrize(("call", "line", "data", "body"), CALLS)
def test_each_call_sends_exactly_its_bytes_signed(
    call: Callable[[DatahubClient], Any], line: str, data: Any, body: bytes
) -> None:
    with ScriptedServer(ok(data)) as server:
        client = DatahubClient(server.url, credentials=SIGNING, clock=lambda: 1704067200.9)
        with client:
            call(client)
    (request,) = server.requests
    assert f"{request.method} {request.target}" == line
    assert request.body == body
    assert is_signed(request)
    assert request.header("D-API-KEY") == "key-1"
    assert request.header("D-TIMESTAMP") == "1704067200"
    assert request.header("Accept-Encoding") == "identity"
    assert request.header("Authorization") is None
    assert request.header("Cookie") is None


def test_answers_are_read() -> None:
    ticket = {"upload_id": "u", "part_upload_urls": [{"index": 1, "url": "https://s/1?q"}]}
    script = (ok({"status": 4}), ok(ticket), ok({"download_url": "https://s/2", "new": 1}))
    with ScriptedServer(*script) as server, DatahubClient(server.url) as client:
        assert client.notify("t") is TaskStatus.CANCELLED
        urls = client.upload_init(UPLOAD).part_upload_urls
        assert [part.url.get_secret_value() for part in urls] == ["https://s/1?q"]
        assert client.download_presign("s").download_url.get_secret_value() == "https://s/2"


def test_an_answer_without_envelope_is_the_data() -> None:
    with ScriptedServer(answer(b'{"status": 2}')) as server, DatahubClient(server.url) as client:
        assert client.notify("t") is TaskStatus.PAUSED


def test_unknown_fields_are_ignored() -> None:
    body = b'{"code": 0, "msg": "success", "trace": 1, "data": {"status": 2, "by": "x"}}'
    with ScriptedServer(answer(body)) as server, DatahubClient(server.url) as client:
        assert client.notify("t") is TaskStatus.PAUSED


def test_the_joined_spelling_of_upload_fields() -> None:
    ticket = {"upload_id": "u", "part_upload_urls": ["https://store/1"]}
    with (
        ScriptedServer(ok(ticket)) as server,
        DatahubClient(server.url, upload_fields="joined") as client,
    ):
        client.upload_init(UPLOAD)
    assert server.requests[0].json == {"subtask_id": "s", "filename": "ü.csv", "filesize": 7}


def test_a_base_url_may_have_a_path() -> None:
    with ScriptedServer() as server, DatahubClient(f"{server.url}/hub/v1/") as client:
        client.post("/api/x", b"{}")
    assert server.requests[0].target == "/hub/v1/api/x"


def test_a_token_is_sent_where_there_is_no_key() -> None:
    with ScriptedServer() as server, DatahubClient(server.url, credentials=BEARER) as client:
        client.post("/x", b"{}")
    (request,) = server.requests
    assert request.header("Authorization") == "Bearer canary-token-4712"
    assert request.header("D-API-KEY") is None


def test_without_credentials_none_are_sent() -> None:
    with ScriptedServer() as server, DatahubClient(server.url) as client:
        client.post("/x", b"{}")
    names = {name.lower() for name, _ in server.requests[0].headers}
    assert names == {
        *("host", "accept", "accept-encoding", "connection", "user-agent"),
        *("content-length", "content-type"),
    }


@pytest.mark.parametrize("value", ["line\nbreak", "ü", "\0"])
def test_a_key_or_token_that_no_header_can_hold_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match="printable ASCII"):
        Credentials(key=value)
    with pytest.raises(ConfigurationError) as caught:
        Credentials(token=SecretStr(value))
    assert value not in str(caught.value)


def test_one_connection_serves_several_calls() -> None:
    with ScriptedServer() as server, DatahubClient(server.url) as client:
        for _ in range(5):
            client.post("/x", b"{}")
    assert server.connections == 1


def test_a_kept_connection_that_the_server_closed_is_no_failure() -> None:
    with ScriptedServer(then_close(ok()), reset()) as server, DatahubClient(server.url) as client:
        client.post("/x", b"1")
        client.post("/x", b"2")
    assert [request.body for request in server.requests] == [b"1", b"2", b"2"]


def test_cookies_are_not_kept() -> None:
    cookie = answer(b"{}", headers=[("Set-Cookie", "a=b; Path=/")])
    with ScriptedServer(cookie) as server, DatahubClient(server.url) as client:
        client.post("/x", b"{}")
        client.post("/x", b"{}")
    assert server.requests[1].header("Cookie") is None


# Signatures and the clock (FAULTS rows 10 to 12)


def test_every_attempt_is_signed_at_its_own_time() -> None:
    times = iter(range(1_000_000, 9_000_000, 1000))
    with (
        ScriptedServer(status(503), reset()) as server,
        DatahubClient(server.url, credentials=SIGNING, clock=lambda: next(times)) as client,
    ):
        client.post("/x", b"{}")
    stamps = [request.header("D-TIMESTAMP") for request in server.requests]
    assert len(set(stamps)) == 3
    assert all(is_signed(request) for request in server.requests)


@pytest.mark.parametrize("refusal", [status(401), envelope(401, "no")])
def test_a_refused_signature_is_made_anew_once(refusal: Step) -> None:
    with (
        ScriptedServer(then=refusal) as server,
        DatahubClient(server.url, credentials=SIGNING) as client,
        pytest.raises(AuthenticationError),
    ):
        client.post("/x", b"{}")
    assert len(server.requests) == 2


def test_a_refused_token_is_not_sent_again() -> None:
    with (
        ScriptedServer(then=status(401)) as server,
        DatahubClient(server.url, credentials=BEARER) as client,
        pytest.raises(AuthenticationError),
    ):
        client.post("/x", b"{}")
    assert len(server.requests) == 1


@pytest.mark.parametrize(("ahead", "used"), [(3600, 3600), (-3600, -3600), (200, 0)])
def test_the_servers_clock_is_followed_where_ours_is_off(ahead: int, used: int) -> None:
    now = 1_700_000_000
    refusal = status(401, headers=[("Date", http_date(now + ahead))])
    with (
        ScriptedServer(refusal) as server,
        DatahubClient(server.url, credentials=SIGNING, clock=lambda: now) as client,
    ):
        client.post("/x", b"1")
        client.post("/x", b"2")
    stamps = [int(request.header("D-TIMESTAMP") or 0) for request in server.requests]
    assert stamps == [now, now + used, now + used]


def test_a_clock_that_was_mended_is_trusted_again() -> None:
    now = [1_700_000_000.0]
    refusals = [status(401, headers=[("Date", http_date(now[0] + 3600))])] * 2
    with (
        ScriptedServer(refusals[0], ok(), refusals[1]) as server,
        DatahubClient(server.url, credentials=SIGNING, clock=lambda: now[0]) as client,
    ):
        client.post("/x", b"1")
        now[0] += 3600
        client.post("/x", b"2")
    stamps = [
        int(request.header("D-TIMESTAMP") or 0) - 1_700_000_000 for request in server.requests
    ]
    assert stamps == [0, 3600, 7200, 3600]


def test_a_jump_of_the_wall_clock_moves_no_deadline() -> None:
    times = iter([0.0, 1e9, 5.0, 2e9, 7.0, 3e9])
    with (
        ScriptedServer(status(503), status(503)) as server,
        DatahubClient(server.url, clock=lambda: next(times)) as client,
    ):
        client.post("/x", b"{}", patience=30)
    assert len(server.requests) == 3


# Reports


def test_reports_are_what_the_calls_send() -> None:
    path, body = status_report("s", TaskStatus.FAILED)
    assert (path, json.loads(body)) == ("/api/task/update_status", {"subtask_id": "s", "status": 5})
    path, body = result_report("s", {"n": [1]})
    assert (path, body) == ("/api/task/result", b'{"subtask_id":"s","result":{"n":[1]}}')


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", object(), {1, 2}])
def test_a_result_that_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(InvalidResultError, match="not JSON"):
        result_report("s", {"value": value})


# Secrets (FAULTS row 82)

LEAKY: list[Step] = [
    ok(),
    status(302, headers=[("Location", "http://elsewhere/?a=b")]),
    status(500),
    raw(b"garbage\r\n\r\n"),
    reset(),
    silence(),
    drip(b"HTTP/1.1 200 OK\r\n"),
    answer(b"{}", headers=[("Content-Encoding", "gzip")]),
]


def echo(exchange: Exchange) -> bool:
    """Say all that we know of the request, as a careless server does."""
    told = " ".join(f"{name}={value}" for name, value in exchange.request.headers)
    return envelope(1, f"{told} {SECRET} see https://store/f?X-Sig=canary-url-4714")(exchange)


@pytest.mark.parametrize("step", [*LEAKY, echo])
@pytest.mark.parametrize("credentials", [SIGNING, BEARER])
def test_no_secret_shows_in_logs_and_errors(
    step: Step, credentials: Credentials, caplog: pytest.LogCaptureFixture
) -> None:
    shown = [repr(credentials)]
    with ScriptedServer(then=step) as server:
        client = DatahubClient(server.url, credentials=credentials, request_deadline=0.15)
        for name in ("", "httpx", "httpcore", "stamina", "datahub.client"):
            caplog.set_level(logging.DEBUG, logger=name)
        with client:
            try:
                client.post("/x", b"{}", patience=0.01)
            except DatahubError as error:
                shown += [repr(error), str(error), "".join(traceback.format_exception(error))]
    shown += [f"{record.getMessage()} {record.__dict__}" for record in caplog.records]
    signatures = {request.header("D-SIGNATURE") for request in server.requests}
    text = " ".join(shown)
    assert "canary" not in text
    assert not any(signature in text for signature in signatures if signature)


def test_the_http_libraries_are_quiet_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with ScriptedServer(status(503), ok({"status": 1})) as server, DatahubClient(server.url) as c:
        c.notify("t")
    assert [record.name for record in caplog.records] == ["datahub.client"]
    assert "GET /api/task/notify at localhost" in caplog.text


def test_redirects_are_not_followed() -> None:
    with ScriptedServer() as elsewhere:
        moved = status(307, headers=[("Location", f"{elsewhere.url}/x")])
        with (
            ScriptedServer(moved) as server,
            DatahubClient(server.url, credentials=SIGNING) as client,
            pytest.raises(InvalidAnswerError, match="HTTP 307"),
        ):
            client.post("/x", b"{}", patience=0)
        assert not elsewhere.requests


def test_an_error_names_the_call_and_the_host() -> None:
    with (
        DatahubClient("http://no-such-host.invalid:81") as client,
        pytest.raises(ConnectionFailedError, match=r"^POST /x at no-such-host.invalid:81: no conn"),
    ):
        client.post("/x", b"{}", patience=0)
