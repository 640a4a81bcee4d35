"""What the client makes of a Datahub that is down, slow, wrong or refuses (FAULTS rows 1 to 9)."""

from __future__ import annotations

import gzip
import logging
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import stamina
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugin_framework.errors import (
    Code,
    ConnectionFailedError,
    DatahubError,
    InvalidAnswerError,
    RejectedError,
    RetryableError,
    ServerUnavailableError,
    UnusableAnswerError,
)
from plugin_framework.protocol.caller import MAXIMUM_BODY
from plugin_framework.protocol.client import DatahubClient
from plugin_framework.protocol.models import TaskStatus, UploadRequest
from tests.scripted_server import (
    ScriptedServer,
    Step,
    answer,
    closed_port,
    drip,
    envelope,
    hang_up,
    ok,
    raw,
    reset,
    silence,
    status,
)

RESULT = b'{"subtask_id":"s","result":{}}'


@pytest.fixture
def no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=5):
        yield


def failure(step: Step, *, deadline: float = 5.0) -> DatahubError:
    """The error of one attempt at a POST."""
    with ScriptedServer(then=step) as server, DatahubClient(server.url) as client:
        with pytest.raises(DatahubError) as caught:
            client.post("/x", RESULT, patience=0, deadline=deadline)
        assert len(server.requests) == 1
    return caught.value


# Down (rows 1, 3, 13)


def test_down_until_patience_runs_out() -> None:
    started = time.monotonic()
    with (
        DatahubClient(f"http://127.0.0.1:{closed_port()}") as client,
        pytest.raises(ConnectionFailedError) as caught,
    ):
        client.post("/x", RESULT, patience=0.4)
    assert 0.3 < time.monotonic() - started < 15
    assert not caught.value.unknown_outcome


def test_down_then_up_within_patience(caplog: pytest.LogCaptureFixture) -> None:
    """The port answers as soon as the first refusal has been logged."""
    caplog.set_level(logging.INFO, logger="datahub.client")
    server = ScriptedServer()
    with ExitStack() as stack, DatahubClient(server.url) as client:
        refused = threading.Event()

        def comes_up(record: logging.LogRecord) -> bool:
            if not refused.is_set():
                refused.set()
                stack.enter_context(server)
            return True

        logger = logging.getLogger("datahub.client")
        logger.addFilter(comes_up)
        stack.callback(logger.removeFilter, comes_up)
        client.post("/x", RESULT, patience=20)
        assert len(server.requests) == 1
    assert "trying again in" in caplog.text


class PlainText(socketserver.BaseRequestHandler):
    """What a web server says to the start of a TLS handshake."""

    def handle(self) -> None:
        self.request.recv(65536)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_https_to_a_port_without_tls_is_told() -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), PlainText) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"https://127.0.0.1:{server.server_address[1]}"
        hint = r"no TLS is spoken there: http:// instead\?"
        with DatahubClient(url) as client, pytest.raises(ConnectionFailedError, match=hint):
            client.post("/x", RESULT, patience=0)
        thread.join()


def test_a_name_that_does_not_resolve() -> None:
    with (
        DatahubClient("http://no-such-host.invalid") as client,
        pytest.raises(ConnectionFailedError) as caught,
    ):
        client.notify("t", patience=0)
    assert not caught.value.unknown_outcome


# Unavailable (rows 4, 9)


@pytest.mark.parametrize(
    "step", [*map(status, (408, 429, 500, 502, 503, 504)), envelope(500, "busy")]
)
@pytest.mark.usefixtures("no_waiting")
def test_unavailable_is_retried(step: Step) -> None:
    with (
        ScriptedServer(step, step, then=ok({"status": 1})) as server,
        DatahubClient(server.url) as client,
    ):
        assert client.notify("t") is TaskStatus.RUNNING
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("step", "unknown"),
    [(status(503), False), (status(429), False), (status(504), True), (envelope(500), True)],
)
def test_whether_an_unavailable_server_may_have_applied_a_post(step: Step, unknown: bool) -> None:  # noqa: FBT001 - a parameter of the table
    error = failure(step)
    assert isinstance(error, ServerUnavailableError)
    assert error.unknown_outcome is unknown


def test_retry_after_is_honoured() -> None:
    asked = status(503, headers=[("Retry-After", "1")])
    with ScriptedServer(asked) as server, DatahubClient(server.url) as client:
        started = time.monotonic()
        client.post("/x", RESULT, patience=10)
        assert time.monotonic() - started >= 1
    assert len(server.requests) == 2


def test_a_wait_longer_than_our_patience_is_not_begun() -> None:
    asked = status(503, headers=[("Retry-After", "99999")])
    with (
        ScriptedServer(then=asked) as server,
        DatahubClient(server.url) as client,
        pytest.raises(ServerUnavailableError) as caught,
    ):
        client.post("/x", RESULT, patience=10)
    assert caught.value.retry_after == 300
    assert len(server.requests) == 1


# Unknown outcome (row 5)

BROKEN: list[Step] = [
    reset(),
    hang_up(),
    raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
    raw(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"code": 0'),
    raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}"),
]


@pytest.mark.parametrize("step", BROKEN)
def test_a_broken_connection_leaves_the_outcome_unknown(step: Step) -> None:
    error = failure(step)
    assert isinstance(error, ConnectionFailedError)
    assert error.unknown_outcome


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("applied", [True, False])
def test_after_an_unknown_outcome_we_ask_before_we_repeat(applied: bool) -> None:  # noqa: FBT001 - a parameter of the table
    asked: list[int] = []
    with ScriptedServer(reset()) as server, DatahubClient(server.url) as client:

        def was_applied() -> bool:
            asked.append(len(server.requests))
            return applied

        client.post("/x", RESULT, applied=was_applied)
        bodies = [request.body for request in server.requests]
    assert asked == [1]
    assert bodies == ([RESULT] if applied else [RESULT, RESULT])


@pytest.mark.usefixtures("no_waiting")
def test_nobody_is_asked_where_the_outcome_is_known() -> None:
    with ScriptedServer(status(503)) as server, DatahubClient(server.url) as client:
        client.post("/x", RESULT, applied=lambda: pytest.fail("asked"))
    assert len(server.requests) == 2


@pytest.mark.usefixtures("no_waiting")
def test_asking_may_fail() -> None:
    """One ask fails, what follows it is sent and fails, the next ask succeeds."""
    asked = iter([False, True])

    def was_applied() -> bool:
        if not next(asked):
            raise RetryableError("no answer")
        return True

    with ScriptedServer(reset(), status(503)) as server, DatahubClient(server.url) as client:
        client.result("s", {}, applied=was_applied)
    assert len(server.requests) == 2


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("late", [True, False])
def test_a_repeat_that_is_refused_because_the_first_was_applied_late(late: bool) -> None:  # noqa: FBT001 - a parameter of the table
    answers = iter([False, late])
    with (
        ScriptedServer(reset(), envelope(1, "already ended")) as server,
        DatahubClient(server.url) as client,
        ExitStack() as stack,
    ):
        if not late:
            stack.enter_context(pytest.raises(RejectedError, match="already ended"))
        client.post("/x", RESULT, applied=lambda: next(answers))
    assert len(server.requests) == 2


def test_doubt_outlasts_a_known_failure() -> None:
    """A reset, then a failing ask: whoever catches the error must still know of the doubt."""

    def was_applied() -> bool:
        raise RetryableError("no answer")

    with (
        stamina.set_testing(True, attempts=2),
        ScriptedServer(reset()) as server,
        DatahubClient(server.url) as client,
        pytest.raises(RetryableError, match="no answer") as caught,
    ):
        client.update_status("s", TaskStatus.FAILED, applied=was_applied)
    assert caught.value.unknown_outcome


# Slow (row 6)

SLOW: list[Step] = [
    silence(),
    drip(b"HTTP/1.1 200 OK\r\nX-Pad: "),
    drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{"),
    drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n"),
]


@pytest.mark.parametrize("step", SLOW)
def test_an_attempt_ends_at_its_deadline(step: Step) -> None:
    started = time.monotonic()
    error = failure(step, deadline=0.3)
    assert isinstance(error, ConnectionFailedError)
    assert error.unknown_outcome
    assert 0.3 <= time.monotonic() - started < 15


def test_a_server_that_takes_no_bytes_is_left_at_the_deadline() -> None:
    """The request is larger than what the kernel buffers, and nobody reads it."""
    server = ScriptedServer()
    server._listener.listen(1)
    try:
        with DatahubClient(server.url) as client, pytest.raises(ConnectionFailedError):
            client.post("/x", b"x" * 32_000_000, patience=0, deadline=0.3)
    finally:
        server._listener.close()


# Not the protocol (row 7)

WRONG: list[Step] = [
    answer(b'{"code": 0, "data'),
    answer(b"<html>welcome</html>", headers=[("Content-Type", "text/html")]),
    answer(b"[]"),
    answer(b""),
    answer(b"\xff\xfe"),
    answer(b"[" * 100_000),
    answer(b'{"code": "zero"}'),
    answer(b'{"code": 0}', headers=[("Content-Encoding", "gzip")]),
    answer(gzip.compress(b'{"code": 0}'), headers=[("Content-Encoding", "gzip")]),
    answer(b" " * (MAXIMUM_BODY + 1)),
    raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    raw(b"HTTP/9.9 OK\r\n\r\n"),
    raw(b"HTTP/1.1 200 OK\r\nX-Large: " + b"x" * 1_000_000 + b"\r\n\r\n{}"),
    raw(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n{}"),
    raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"),
]


@pytest.mark.parametrize("step", WRONG)
def test_an_answer_that_is_not_the_protocols(step: Step) -> None:
    error = failure(step)
    assert isinstance(error, InvalidAnswerError), error
    assert error.unknown_outcome


@pytest.mark.usefixtures("no_waiting")
def test_wrong_answers_are_retried() -> None:
    with (
        ScriptedServer(
            answer(b"<html>"), ok({"status": 99}), ok(None), ok({"status": 1})
        ) as server,
        DatahubClient(server.url) as client,
    ):
        assert client.notify("t") is TaskStatus.RUNNING


def test_data_of_the_wrong_shape_are_named_but_not_shown() -> None:
    ticket = {"upload_id": "u", "part_upload_urls": [{"index": 2, "url": "https://s/?canary"}]}
    request = UploadRequest(subtask_id="s", file_name="f", file_size=1)
    with (
        ScriptedServer(then=ok(ticket)) as server,
        DatahubClient(server.url) as client,
        pytest.raises(UnusableAnswerError, match="part_upload_urls") as caught,
    ):
        client.upload_init(request, patience=60)
    assert len(server.requests) == 1
    assert "canary" not in str(caught.value)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(
        st.binary(max_size=200),
        st.tuples(st.integers(0, 90), st.binary(min_size=1, max_size=4)),
    )
)
def test_no_answer_escapes_the_error_tree(answered: bytes | tuple[int, bytes]) -> None:
    """Noise, and a right answer with some of its bytes overwritten."""
    if isinstance(answered, tuple):
        right = bytearray(
            b"HTTP/1.1 302 Found\r\nLocation: http://h/\r\nContent-Length: 2\r\n\r\n{}"
        )
        start, noise = answered
        right[start : start + len(noise)] = noise
        answered = bytes(right)
    with ScriptedServer(then=raw(answered)) as server, DatahubClient(server.url) as client:
        try:
            client.post("/x", RESULT, patience=0, deadline=5)
        except DatahubError as error:
            assert str(error).startswith("POST /x at localhost")  # noqa: PT017 - success is right, too


# Refused (row 8)


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (envelope(1, "no such subtask"), 1),
        (envelope(400, "no such subtask"), 400),
        (envelope(1, "no such subtask", status=400), 1),
        (envelope(7, "no such subtask", status=403), 7),
        (envelope(0, "no such subtask", status=400), 400),
        (answer(b"", status=400), 400),
    ],
)
def test_refused_for_good(step: Step, code: int) -> None:
    with (
        ScriptedServer(then=step) as server,
        DatahubClient(server.url) as client,
        pytest.raises(RejectedError, match=r"no such subtask|HTTP 400") as caught,
    ):
        client.post("/x", RESULT, patience=30)
    assert caught.value.api_code == code
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "make",
    [
        status,
        lambda code: answer(b"", status=code),
        lambda code: envelope(0, "no such page", status=code),  # code 0 says nothing
    ],
)
@pytest.mark.parametrize("code", [301, 302, 403, 404, 405, 413])
def test_a_refusal_without_an_envelope_is_not_datahubs(
    make: Callable[[int], Step], code: int
) -> None:
    error = failure(make(code))
    assert isinstance(error, InvalidAnswerError)
    assert (error.code, error.unknown_outcome) == (Code.REJECTED_ON_THE_WAY, False)
    assert f"HTTP {code}" in str(error)


def test_datahubs_message_is_made_fit_to_print() -> None:
    error = failure(envelope(1, "two\nlines \x1b[31m\u202e\ud800 " + "x" * 999))
    assert str(error).endswith("x)")
    assert "two lines [31m xxx" in str(error)
    assert len(str(error)) < 400


@pytest.mark.usefixtures("no_waiting")
def test_a_heartbeat_is_not_retried_by_itself() -> None:
    with (
        ScriptedServer(then=status(503)) as server,
        DatahubClient(server.url) as client,
        pytest.raises(ServerUnavailableError),
    ):
        client.heartbeat("s", 1)
    assert len(server.requests) == 1
