"""Who may call: row 86 to 89 of the faults, by requests whose every byte is ours."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.service.calling import KEY, SECRET, Answer, Caller, ServiceProcess, signed
from tests.service.hub import Hub

CREATE = "/api/plugin/create_task"
OLD = "the secret of last year"


@pytest.fixture(scope="module")
def service(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with ServiceProcess(
        tmp_path_factory.mktemp("state"), hub.url, "Anything", DATAHUB_API_SECRET_PREVIOUS=OLD
    ) as running:
        yield running


def body_of(subtask_id: str, **config: object) -> bytes:
    return json.dumps({"subtask_id": subtask_id, "config": config}, ensure_ascii=False).encode()


def post(service: ServiceProcess, body: bytes, headers: Mapping[str, str]) -> Answer:
    kind = {"Content-Type": "application/json"}
    return service.call.send("POST", CREATE, body, {**kind, **headers})


@pytest.mark.parametrize("spell", [str.lower, str.upper, str.title])
def test_an_independent_signature_is_accepted(service: ServiceProcess, spell: object) -> None:
    assert callable(spell)
    body = body_of(f"spelt {spell('AbC')}", word="\u732b \U0001f408 caf\u00e9")
    headers = {spell(k): v for k, v in signed({}, body, int(time.time())).items()}
    assert post(service, body, headers).fate == (200, 0)


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ({}, ""),
        ({"timestamp": "1763382017"}, "?timestamp=1763382017"),
        ({"b": "2", "a": "1", "empty": ""}, "?b=2&a=1&empty="),
        ({"word": "\u732b & co"}, "?word=%E7%8C%AB%20%26%20co"),
        ({"word": "\u732b & go"}, "?word=%E7%8C%AB+%26+go"),
    ],
)
def test_a_query_is_signed_too(service: ServiceProcess, query: dict[str, str], target: str) -> None:
    headers = signed(query, b"", int(time.time()))
    assert service.call.send("GET", f"/api/plugin/health{target}", b"", headers).status == 200


def test_a_query_may_be_signed_as_it_is_spelt(service: ServiceProcess) -> None:
    """JSON says the same with and without escapes; other languages write none."""
    query, now = '{"word":"\u732b"}'.encode(), int(time.time())
    headers = signed({}, query, now)
    target = "/api/plugin/health?word=%E7%8C%AB"
    assert service.call.send("GET", target, b"", headers).status == 200


@pytest.mark.parametrize("target", ["?a=%e7", "?%61=1", "?a=1&a=1", "?a", "?a=1&", "?a=%zz"])
def test_a_query_is_written_in_one_way(service: ServiceProcess, target: str) -> None:
    headers = signed({"a": "1"}, b"", int(time.time()) + 7)
    assert service.call.send("GET", f"/api/plugin/health{target}", b"", headers).status == 400


@pytest.mark.parametrize("missing", ["D-API-KEY", "D-TIMESTAMP", "D-SIGNATURE"])
def test_each_header_is_needed_once(service: ServiceProcess, missing: str) -> None:
    body = body_of("headers")
    headers = signed({}, body, int(time.time()))
    fewer = {name: value for name, value in headers.items() if name != missing}
    assert post(service, body, fewer).fate == (401, 401)
    lines = [f"{name}: {value}" for name, value in [*headers.items(), (missing, headers[missing])]]
    head = f"POST {CREATE} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n" + "\r\n".join(lines) + "\r\n\r\n"
    assert service.call.raw(request.encode() + body).startswith(b"401 ")


@pytest.mark.parametrize(
    "spell",
    [
        lambda now: f" {now}0",
        lambda now: f"{now - 301}",
        lambda now: f"{now + 330}",
        lambda now: f"{now}.0",
        lambda now: f"+{now}",
        lambda now: f"0{now}",
        lambda now: f"{now:_}",
        lambda now: f"{now}".translate({48 + i: 0xFF10 + i for i in range(10)}),
        lambda now: f"{now}\u00a0",
        lambda _now: "nan",
        lambda _now: "inf",
        lambda _now: "1e9",
        lambda _now: "-1",
        lambda _now: "",
        lambda _now: "9" * 400,
    ],
)
def test_a_timestamp_is_plain_and_fresh(service: ServiceProcess, spell: object) -> None:
    assert callable(spell)
    body, timestamp = body_of("timestamps"), spell(int(time.time()))
    lines = b"".join(
        f"{name}: {value}\r\n".encode() for name, value in signed({}, body, timestamp).items()
    )
    head = f"POST {CREATE} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n".encode() + lines + b"\r\n" + body
    assert service.call.raw(request)[:4] == b"401 "


def test_the_wrong_key_secret_or_signature_is_refused(service: ServiceProcess) -> None:
    body, now = body_of("wrong"), int(time.time())
    right = signed({}, body, now)
    for name, value in (
        ("D-API-KEY", KEY.upper()),
        ("D-API-KEY", KEY + "x"),
        ("D-SIGNATURE", right["D-SIGNATURE"].upper()),
        ("D-SIGNATURE", right["D-SIGNATURE"][:-1]),
        ("D-SIGNATURE", "\u00e9" * 64),
        ("D-SIGNATURE", ""),
        ("D-SIGNATURE", signed({}, body, now, secret="guessed")["D-SIGNATURE"]),
    ):
        assert post(service, body, {**right, name: value}).fate == (401, 401)
    assert post(service, body + b" ", right).fate == (401, 401)
    assert post(service, body.replace(b"wrong", b"wrung"), right).fate == (401, 401)
    assert post(service, body, right).fate == (200, 0)


def test_nothing_is_parsed_before_the_signature_is_right(service: ServiceProcess) -> None:
    for body in (b"{", b"[" * 1000, b'{"a": NaN}', b"\xff"):
        assert post(service, body, signed({}, b"other", int(time.time()))).fate == (401, 401)


def test_both_secrets_are_taken_during_a_rotation(service: ServiceProcess) -> None:
    for number, secret in enumerate((OLD, SECRET)):
        body = body_of(f"rotation {number}")
        headers = signed({}, body, int(time.time()), secret=secret)
        assert post(service, body, headers).fate == (200, 0)


def test_a_replay_is_refused_at_every_endpoint(service: ServiceProcess) -> None:
    body = json.dumps({"subtask_id": "replayed", "config": {}, "status": 4, "tx_hash": "0x1"})
    headers = signed({}, body.encode(), int(time.time()))
    assert post(service, body.encode(), headers).fate == (200, 0)
    for path in (CREATE, "/api/plugin/manage_task", "/api/plugin/payment", f"/Anything{CREATE}"):
        kind = {"Content-Type": "application/json"}
        again = service.call.send("POST", path, body.encode(), {**kind, **headers})
        assert again.fate == (401, 401)
    assert post(service, body.encode(), signed({}, body.encode(), int(time.time()) + 1)).code == 0


def test_query_and_body_cannot_be_swapped(service: ServiceProcess) -> None:
    """Both are signed alike: what was signed as one must not be taken for the other."""
    now = int(time.time())
    query = {"subtask_id": "swapped"}
    text = json.dumps(query, separators=(",", ":")).encode()
    target = "/api/plugin/health?subtask_id=swapped"
    headers = {"Content-Type": "application/json", **signed({}, text, now)}
    assert service.call.send("POST", f"{CREATE}?subtask_id=swapped", b"", headers).fate == (
        400,
        400,
    )
    headers = {"Content-Type": "application/json", **signed({}, text, now + 1)}
    assert service.call.send("GET", "/api/plugin/health", text, headers).fate == (400, 400)
    both = signed(query, text, now + 2)
    assert service.call.send("GET", target, text, both).fate == (400, 400)


def test_a_large_body_is_refused(service: ServiceProcess) -> None:
    fits = body_of("large", text="x" * 1_000_000)
    assert post(service, fits, signed({}, fits, int(time.time()))).fate == (200, 0)
    large = body_of("larger", text="x" * 1_048_576)
    assert post(service, large, signed({}, large, int(time.time()))).fate == (413, 413)


@pytest.mark.parametrize(
    "framing",
    [
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: {length}",
        "Content-Length: {length}\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity\r\nContent-Length: {length}",
        "Content-Length: {length}\r\nContent-Length: 1",
        "Content-Length: -1",
        "Content-Length: +{length}",
        "Content-Length: 0x10",
        "Content-Length : {length}",
    ],
)
def test_a_body_has_one_length(service: ServiceProcess, hub: Hub, framing: str) -> None:
    body = body_of("smuggled")
    lines = "".join(f"{k}: {v}\r\n" for k, v in signed({}, body, int(time.time())).items())
    length = framing.format(length=len(body))
    head = f"POST {CREATE} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n{length}\r\n"
    chunked = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    whole = (chunked if "chunked" in framing else body) + b"GET /live HTTP/1.1\r\nHost: h\r\n\r\n"
    answer = service.call.raw(f"{head}{lines}\r\n".encode() + whole)
    assert answer[:4] in {b"400 ", b"411 ", b"501 "}
    assert b'"code"' in answer
    assert "smuggled" not in hub.statuses


def test_what_was_taken_is_remembered_after_a_restart(hub: Hub, tmp_path: Path) -> None:
    body = json.dumps({"subtask_id": "remembered", "status": 2}).encode()
    create = body_of("remembered")
    headers = {"Content-Type": "application/json", **signed({}, body, int(time.time()))}
    with ServiceProcess(tmp_path, hub.url, "Hangs") as service:
        assert service.call.post(CREATE, json.loads(create)).fate == (200, 0)
        assert service.call.send("POST", "/api/plugin/manage_task", body, headers).code == 0
        service.kill()
    with ServiceProcess(tmp_path, hub.url, "Hangs") as service:
        again = service.call.send("POST", "/api/plugin/manage_task", body, headers)
        assert again.fate == (401, 401)
        assert service.stop(number=15) == 0


def test_what_was_refused_is_remembered_after_a_restart_too(hub: Hub, tmp_path: Path) -> None:
    """Nor can it pass for another call then: the path and the type are not signed."""
    body = json.dumps({"subtask_id": "refused before", "status": 2}).encode()
    kind = {"Content-Type": "application/json"}
    by_plan = {**kind, **signed({}, body, int(time.time()))}
    by_type = signed({}, body, int(time.time()) + 1)
    manage = "/api/plugin/manage_task"
    with ServiceProcess(tmp_path, hub.url, "Counts") as service:
        assert service.call.send("POST", manage, body, by_plan).fate == (200, 1)
        text = {"Content-Type": "text/plain", **by_type}
        assert service.call.send("POST", manage, body, text).fate == (415, 415)
        service.kill()
    with ServiceProcess(tmp_path, hub.url, "Counts") as service:
        for headers in (by_plan, {**kind, **by_type}):
            assert service.call.send("POST", CREATE, body, headers).fate == (401, 401)
    assert "refused before" not in hub.statuses


def test_no_secret_is_said_or_kept(service: ServiceProcess) -> None:
    for line in service.lines:
        assert SECRET not in str(line)
        assert OLD not in str(line)


def test_without_a_secret_loopback_alone_is_served(hub: Hub, tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, hub.url, "Counts", secret=None) as service:
        service.wait_for_line("requests are not signed")
        call = Caller(service.url, secret=None)
        assert call.create("open", {}).fate == (200, 0)
        kind = {"Content-Type": "application/json"}
        for name, value in (
            ("Origin", "https://evil.example"),
            ("Origin", "null"),
            ("Host", "evil.example"),
            ("Host", "evil.example@127.0.0.1"),
            ("Origin", "http://evil.example@localhost"),
        ):
            answer = call.send("POST", CREATE, body_of("foreign"), {**kind, name: value})
            assert answer.fate == (403, 403)
        simple = {"Content-Type": "text/plain"}
        assert call.send("POST", CREATE, body_of("foreign"), simple).fate == (415, 415)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_without_a_secret_nothing_else_is_bound(hub: Hub, tmp_path: Path, host: str) -> None:
    service = ServiceProcess(tmp_path, hub.url, "Counts", "--host", host, secret=None)
    with pytest.raises(AssertionError, match="nobody signs"):
        service.__enter__()
    assert service.process.returncode == 2
    assert len(service.lines) == 1
