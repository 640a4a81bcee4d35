"""Each step of a call to Datahub, against servers that fail at just that."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path

import pytest
import trustme

from plugin_framework.cli.doctor import datahub, exchange
from plugin_framework.cli.doctor.case import Case
from plugin_framework.cli.doctor.reading import read
from plugin_framework.emulator.server import Emulator
from plugin_framework.errors import Code
from tests.cli.doctoring import case_of, levels, said
from tests.scripted_server import (
    Exchange,
    ScriptedServer,
    Step,
    closed_port,
    envelope,
    make_certificate,
    ok,
    raw,
    silence,
    status,
    tls_context,
)

KEY, SECRET = "key-of-tests", "canary-secret"
ALL = ["datahub", "proxy", "address", "connection", "tls", "answer", "clock", "signature"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(state_dir=tmp_path_factory.mktemp("hub"), key=KEY, secret=SECRET) as emulator:
        yield emulator


def at(seconds: float) -> tuple[str, str]:
    """The Date header of a server whose clock is so many seconds ahead."""
    return ("Date", formatdate(time.time() + seconds, usegmt=True))


def test_all_is_well(hub: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    case = case_of(monkeypatch, tmp_path, BASE_URL=hub.url, API_KEY=KEY, API_SECRET=SECRET)
    found = said(case, datahub.CHECKS)
    assert levels(found) == dict.fromkeys(ALL, "ok")
    assert found["signature"].message == "the signature is accepted"
    assert hub.store.subtasks() == []


def test_a_wrong_secret(hub: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    case = case_of(monkeypatch, tmp_path, BASE_URL=hub.url, API_KEY=KEY, API_SECRET="not it")
    found = said(case, datahub.CHECKS)
    assert levels(found) == {**dict.fromkeys(ALL, "ok"), "signature": "fail"}
    assert "DATAHUB_API_KEY and DATAHUB_API_SECRET" in (found["signature"].remedy or "")
    assert found["signature"].code is Code.NOT_AUTHENTICATED


def test_no_secret_at_all(hub: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    case = case_of(monkeypatch, tmp_path, BASE_URL=hub.url)
    found = said(case, datahub.CHECKS)["signature"]
    assert found.level == "fail"
    assert found.message == "calls are not signed, and Datahub does not accept that"


def test_a_key_without_its_secret_is_not_tried(
    hub: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case = case_of(monkeypatch, tmp_path, BASE_URL=hub.url, API_KEY=KEY)
    found = said(case, datahub.CHECKS)["signature"]
    assert found.level == "skip"
    assert found.message == "not looked at, because of DATAHUB_API_SECRET"


def test_a_token_that_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with ScriptedServer(then=envelope(401, "no")) as server:
        case = case_of(monkeypatch, tmp_path, BASE_URL=server.url, TOKEN=SECRET)
        found = said(case, datahub.CHECKS)["signature"]
    assert found.message == "Datahub does not accept the token"
    assert server.requests[0].header("Authorization") == f"Bearer {SECRET}"


def test_without_an_address_nothing_else_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = said(case_of(monkeypatch, tmp_path), datahub.CHECKS)
    assert levels(found) == {**dict.fromkeys(ALL, "skip"), "datahub": "fail"}
    assert found["datahub"].message == "DATAHUB_BASE_URL is not set"


def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    case = case_of(monkeypatch, tmp_path, BASE_URL="https://datahub.invalid")
    found = said(case, datahub.CHECKS)
    assert found["address"].level == "fail"
    assert found["address"].message.startswith("datahub.invalid, the name of Datahub, does not")
    assert found["signature"].message == "not looked at, because of address"


def test_a_port_where_nothing_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    port = closed_port()
    case = case_of(monkeypatch, tmp_path, BASE_URL=f"http://127.0.0.1:{port}")
    found = said(case, datahub.CHECKS)["connection"]
    assert found.level == "fail"
    assert f"127.0.0.1 port {port} (Connection refused)" in found.message


@pytest.mark.parametrize(
    ("seconds", "level", "words"),
    [
        (0, "ok", "within "),
        (90, "warn", "s behind Datahub's; at 300 s"),
        (-90, "warn", "s ahead of Datahub's; at 300 s"),
        (4000, "fail", "s behind Datahub's: signatures are valid for 300 s"),
    ],
)
def test_clocks(
    seconds: float, level: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with ScriptedServer(then=envelope(1, "no such task", headers=[at(seconds)])) as server:
        case = case_of(monkeypatch, tmp_path, BASE_URL=server.url, TOKEN=SECRET)
        found = said(case, datahub.CHECKS)
    assert found["clock"].level == level
    assert words in found["clock"].message
    assert found["signature"].level == "ok"


def test_a_signature_that_is_refused_for_its_time_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    refusal = envelope(401, "expired", headers=[at(4000)])
    with ScriptedServer(refusal, then=ok({"status": 0})) as server:
        case = case_of(monkeypatch, tmp_path, BASE_URL=server.url, API_KEY=KEY, API_SECRET=SECRET)
        found = said(case, datahub.CHECKS)
    assert found["signature"].level == "warn"
    first, second = (int(one.header("D-TIMESTAMP") or 0) for one in server.requests)
    assert abs(second - first - 4000) < 30


def test_no_date_to_compare_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with ScriptedServer(then=ok({"status": 0})) as server:
        case = case_of(monkeypatch, tmp_path, BASE_URL=server.url, TOKEN=SECRET)
        assert said(case, datahub.CHECKS)["clock"].level == "skip"


@pytest.mark.parametrize(
    ("step", "words", "code"),
    [
        (status(404), "HTTP 404, and not by Datahub", Code.REJECTED_ON_THE_WAY),
        (status(403), "HTTP 403, and not by Datahub", Code.REJECTED_ON_THE_WAY),
        (status(200), "not the protocol's JSON", Code.INVALID_ANSWER),
        (status(503), "HTTP 503", Code.SERVER_UNAVAILABLE),
        (envelope(500, "broken"), "code 500", Code.SERVER_UNAVAILABLE),
        (raw(b"220 mail server\r\n\r\n"), "the answer is not HTTP", Code.INVALID_ANSWER),
        (raw(b""), "the connection broke", Code.NO_WHOLE_ANSWER),
    ],
    ids=["404", "403", "a page", "503", "500", "no HTTP", "hang up"],
)
def test_what_is_no_datahub(
    step: Step, words: str, code: Code, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with ScriptedServer(then=step) as server:
        case = case_of(monkeypatch, tmp_path, BASE_URL=server.url, TOKEN=SECRET)
        found = said(case, datahub.CHECKS)
    assert found["answer"].level == "fail"
    assert words in found["answer"].message
    assert found["answer"].remedy
    assert found["answer"].code is code
    assert found["signature"].level == "skip"


def test_who_forbids_the_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with ScriptedServer(status(403), then=envelope(403, "not yours")) as server:
        case = case_of(monkeypatch, tmp_path, BASE_URL=server.url, TOKEN=SECRET)
        by_other = said(case, datahub.CHECKS)
        by_datahub = said(Case(read()), datahub.CHECKS)
    assert "a firewall or proxy before Datahub refuses" in (by_other["answer"].remedy or "")
    assert by_other["signature"].level == "skip"
    assert by_datahub["answer"].level == "ok"
    assert by_datahub["signature"].message == "Datahub forbids the call"


def test_silence_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert max(exchange.SECONDS, datahub.CONNECT_SECONDS) < min(x.seconds for x in datahub.CHECKS)
    monkeypatch.setattr(exchange, "SECONDS", 0.3)
    with ScriptedServer(then=silence()) as server:
        case = case_of(monkeypatch, tmp_path, BASE_URL=server.url, TOKEN=SECRET)
        found = said(case, datahub.CHECKS)["answer"]
    assert found.message == "no answer (no whole answer within 0.3 s)"


def test_a_trusted_certificate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundle = make_certificate(tmp_path)
    with ScriptedServer(then=ok({"status": 0}), tls=bundle) as server:
        case = case_of(monkeypatch, tmp_path, BASE_URL=server.url, TOKEN=SECRET, CA_BUNDLE=bundle)
        found = said(case, datahub.CHECKS)["tls"]
    assert found.level == "ok"
    assert found.message.startswith("TLSv1.3, certificate by trustme v")


def test_a_certificate_of_an_unknown_authority(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with ScriptedServer(tls=make_certificate(tmp_path)) as server:
        case = case_of(monkeypatch, tmp_path, BASE_URL=server.url, TOKEN=SECRET)
        found = said(case, datahub.CHECKS)["tls"]
    assert found.level == "fail"
    assert "DATAHUB_CA_BUNDLE" in (found.remedy or "")
    assert found.code is Code.CERTIFICATE_UNTRUSTED
    assert server.requests == []


def test_a_certificate_for_another_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundle = make_certificate(tmp_path, "datahub.example.com")
    with ScriptedServer(tls=bundle) as server:
        case = case_of(monkeypatch, tmp_path, BASE_URL=server.url, TOKEN=SECRET, CA_BUNDLE=bundle)
        found = said(case, datahub.CHECKS)["tls"]
    assert found.level == "fail"
    assert found.remedy == "use the host name that the certificate is for in DATAHUB_BASE_URL"


@pytest.mark.parametrize(("days", "level"), [(-1, "fail"), (3, "warn"), (60, "ok")])
def test_a_certificate_that_ends(
    days: int, level: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    ends = datetime.now(UTC) + timedelta(days=days, hours=1)
    shown = authority.issue_cert("localhost", not_before=ends - timedelta(90), not_after=ends)
    bundle = tmp_path / "ends.pem"
    shown.private_key_and_cert_chain_pem.write_to_path(bundle)
    authority.cert_pem.write_to_path(bundle, append=True)
    with ScriptedServer(then=ok({"status": 0}), tls=bundle) as server:
        case = case_of(monkeypatch, tmp_path, BASE_URL=server.url, TOKEN=SECRET, CA_BUNDLE=bundle)
        found = said(case, datahub.CHECKS)["tls"]
    assert found.level == level
    assert ("expired" if days < 0 else f"({days} days)") in found.message


def test_a_port_without_tls(hub: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    case = case_of(monkeypatch, tmp_path, BASE_URL=hub.url.replace("http:", "https:"))
    found = said(case, datahub.CHECKS)["tls"]
    assert found.level == "fail"
    assert found.message.startswith("no TLS with the server ")
    assert found.remedy == "see that the port is one for https://"


def test_a_bundle_that_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("nothing")
    with ScriptedServer(tls=make_certificate(tmp_path)) as server:
        case = case_of(monkeypatch, tmp_path, BASE_URL=server.url, CA_BUNDLE=bundle)
        found = said(case, datahub.CHECKS)["tls"]
    assert found.level == "fail"
    assert found.message.startswith(f"DATAHUB_CA_BUNDLE (or SSL_CERT_FILE) {bundle}: ")


def test_a_proxy_that_wants_a_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with ScriptedServer(then=status(407)) as proxy:
        at_proxy = proxy.url.replace("//", "//user:canary-password@")
        case = case_of(
            monkeypatch, tmp_path, BASE_URL="https://datahub.invalid", PROXY=at_proxy, TOKEN=SECRET
        )
        found = said(case, datahub.CHECKS)
    assert found["connection"].message.startswith("the proxy takes connections at ")
    assert found["answer"].level == "fail"
    assert "the proxy refuses" in (found["answer"].remedy or "")
    assert "canary" not in str(found)


def tunnel(certificate: Path) -> Step:
    """Take a CONNECT as a proxy does, and be the Datahub behind it, too."""

    def step(exchange: Exchange) -> bool:
        exchange.socket.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        with tls_context(certificate).wrap_socket(exchange.socket, server_side=True) as inner:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += inner.recv(4096)
            ok({"status": 0})(Exchange(exchange.request, inner, exchange.stopped))
        return False

    return step


def test_a_proxy_that_lets_it_through(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundle = make_certificate(tmp_path, "datahub.invalid")
    with ScriptedServer(tunnel(bundle)) as server:
        case = case_of(
            monkeypatch,
            tmp_path,
            BASE_URL="https://datahub.invalid",
            PROXY=server.url,
            TOKEN=SECRET,
            CA_BUNDLE=bundle,
        )
        found = said(case, datahub.CHECKS)
    assert case.fit_to_print(found["proxy"].message) == f"{server.url}, for Datahub and storage"
    assert found["tls"].message.startswith("TLSv1.3, certificate by trustme v")
    assert found["signature"].level == "ok"


def test_a_proxy_of_the_environment_is_named_and_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case_of(monkeypatch, tmp_path, BASE_URL=f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("HTTP_PROXY", "http://user:canary@proxy.invalid:3128")
    case = Case(read())
    found = said(case, datahub.CHECKS)["proxy"]
    assert found.message == "none (HTTP_PROXY is set, and only used with DATAHUB_PROXY=env)"
