"""What comes before the protocol: signatures, JSON, addresses."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from plugin_framework.emulator import Emulator
from tests.emulator.calling import Plugin, send, signature

NOTIFY = "/api/task/notify"
STATUS = "/api/task/update_status"


def now(offset: int = 0) -> str:
    return str(int(time.time()) + offset)


@pytest.mark.parametrize(
    "timestamp",
    ["nan", "inf", "", "1e9", "-1", "+1700000000", "١٧٠٠٠٠٠٠٠٠", "9" * 400],  # noqa: RUF001 - the point
)
def test_malformed_timestamps_are_401(plugin: Plugin, running: str, timestamp: str) -> None:
    headers = plugin.headers({"task_id": running}, b"", timestamp)
    raw = [(name, value.encode().decode("latin-1")) for name, value in headers]
    answer = send("GET", f"{plugin.url}{NOTIFY}?task_id={running}", None, raw)
    assert answer.refusal == (401, 401)


@pytest.mark.parametrize("offset", [-302, 302, -100_000])
def test_stale_and_future_timestamps_are_401(plugin: Plugin, running: str, offset: int) -> None:
    headers = plugin.headers({"task_id": running}, b"", now(offset))
    answer = send("GET", f"{plugin.url}{NOTIFY}?task_id={running}", None, headers)
    assert answer.refusal == (401, 401)


def test_a_timestamp_within_the_window_is_taken(plugin: Plugin, running: str) -> None:
    headers = plugin.headers({"task_id": running}, b"", now(-250))
    answer = send("GET", f"{plugin.url}{NOTIFY}?task_id={running}", None, headers)
    assert answer.data == {"status": 1}


@pytest.mark.parametrize("missing", ["D-API-KEY", "D-TIMESTAMP", "D-SIGNATURE"])
@pytest.mark.parametrize("times", [0, 2])
def test_each_header_comes_once(plugin: Plugin, running: str, missing: str, times: int) -> None:
    headers = plugin.headers({"task_id": running}, b"")
    one = [pair for pair in headers if pair[0] == missing]
    sent = [pair for pair in headers if pair[0] != missing] + one * times
    answer = send("GET", f"{plugin.url}{NOTIFY}?task_id={running}", None, sent)
    assert answer.refusal == (401, 401)


@pytest.mark.parametrize(
    ("key", "secret"), [("key-2", "secret-1"), ("key-1", "secret-2"), ("clé", "secret-1")]
)
def test_wrong_keys_and_secrets_are_401(
    plugin: Plugin, running: str, key: str, secret: str
) -> None:
    stranger = Plugin(plugin.url, key, secret)
    assert stranger.get(NOTIFY, task_id=running).refusal == (401, 401)


def test_a_signature_that_is_not_ascii_is_401(plugin: Plugin, running: str) -> None:
    headers = [("D-API-KEY", "key-1"), ("D-TIMESTAMP", now()), ("D-SIGNATURE", "é" * 64)]
    answer = send("GET", f"{plugin.url}{NOTIFY}?task_id={running}", None, headers)
    assert answer.refusal == (401, 401)


def test_the_signature_covers_body_and_query(plugin: Plugin, running: str) -> None:
    body = json.dumps({"subtask_id": running, "status": 2}).encode()
    headers = plugin.headers({}, body)
    assert send("POST", plugin.url + STATUS, body + b" ", headers).refusal == (401, 401)
    assert send("POST", f"{plugin.url}{STATUS}?a=1", body, headers).refusal == (401, 401)


def test_query_and_body_cannot_be_swapped(plugin: Plugin, running: str) -> None:
    text = json.dumps({"task_id": running}, separators=(",", ":")).encode()
    headers = plugin.headers({}, text)
    as_query = send("GET", f"{plugin.url}{NOTIFY}?task_id={running}", None, headers)
    as_body = send("GET", plugin.url + NOTIFY, text, headers)
    assert as_body.refusal == (400, 400)
    # Signed alike by the protocol's rule; what keeps it harmless is that no GET changes anything.
    assert as_query.data == {"status": 1}
    assert send("POST", f"{plugin.url}{STATUS}?task_id={running}", None, headers).refusal == (
        400,
        400,
    )


def test_a_query_parameter_comes_once(plugin: Plugin, running: str) -> None:
    headers = plugin.headers({"task_id": running}, b"")
    query = f"task_id=x&task_id={running}"
    assert send("GET", f"{plugin.url}{NOTIFY}?{query}", None, headers).refusal == (400, 400)


def test_authentication_comes_before_the_body_is_read(plugin: Plugin) -> None:
    assert send("POST", plugin.url + STATUS, b"{not json").refusal == (401, 401)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"\xff\xfe",
        b'{"subtask_id": "a"}',
        b'{"subtask_id": 1, "result": {}}',
        b'{"subtask_id": "a", "subtask_id": "b", "result": {}}',
        b'{"subtask_id": "a", "result": {"x": NaN}}',
        b'{"subtask_id": "a", "result": {"x": 1e999}}',
        b'{"subtask_id": "a", "result": {"x": "\\ud800"}}',
        b'{"subtask_id": "a", "result": {"x": ' + b"9" * 5000 + b"}}",
        b'{"subtask_id": "a", "result": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_message_is_400(plugin: Plugin, body: bytes) -> None:
    assert plugin.post("/api/task/result", body).refusal == (400, 400)


def test_a_huge_body_is_413(plugin: Plugin) -> None:
    assert plugin.post("/api/task/result", b" " * (33 * 1024 * 1024)).refusal == (413, 413)


@pytest.mark.parametrize("path", ["/api/task/download/presign", NOTIFY])
def test_the_id_is_required(plugin: Plugin, path: str) -> None:
    assert plugin.get(path).refusal == (400, 400)
    assert plugin.get(path, other="x").refusal == (400, 400)


def test_other_addresses_and_methods_have_the_envelope_too(plugin: Plugin) -> None:
    assert plugin.get("/api/task/nothing").refusal == (404, 404)
    assert plugin.get(STATUS).refusal == (405, 405)
    assert plugin.post(NOTIFY, {}).refusal == (405, 405)


@pytest.mark.parametrize(
    "header",
    [
        ("Host", "evil.example"),
        ("Host", "127.0.0.1.evil.example"),
        ("Host", "127.0.0.1@evil.example"),
        ("Host", "[::1"),
        ("Host", ""),
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
    ],
)
def test_foreign_hosts_and_origins_are_refused(
    plugin: Plugin, running: str, header: tuple[str, str]
) -> None:
    headers = [*plugin.headers({"task_id": running}, b""), header]
    assert send("GET", f"{plugin.url}{NOTIFY}?task_id={running}", None, headers).status == 403


def test_our_own_origin_is_let_in(plugin: Plugin, running: str) -> None:
    headers = [*plugin.headers({"task_id": running}, b""), ("Origin", plugin.url)]
    answer = send("GET", f"{plugin.url}{NOTIFY}?task_id={running}", None, headers)
    assert answer.data == {"status": 1}


def test_without_a_key_no_signature_is_asked_for(tmp_path: Path) -> None:
    with Emulator(state_dir=tmp_path / "state") as emulator:
        emulator.store.create_subtask("a")
        assert Plugin(emulator.url).status("a", 1).json["code"] == 0


def test_the_test_signs_as_the_protocol_says() -> None:
    """The tests' own signer against a value computed with openssl."""
    # printf '{"task_id":"a"}1700000000' | openssl dgst -sha256 -hmac s
    expected = "211117017276c9c2fdc9f925b7ceaedfa0e601743725be032b00f7b3f7c61926"
    assert signature("s", {"task_id": "a"}, b"", "1700000000") == expected
