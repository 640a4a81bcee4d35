"""Whom the client trusts, and by which way it goes: TLS and proxies (FAULTS row 13)."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from plugin_framework.errors import CertificateError, ConfigurationError
from plugin_framework.protocol.client import DatahubClient
from plugin_framework.protocol.credentials import Credentials
from plugin_framework.protocol.models import TaskStatus
from tests.scripted_server import (
    Exchange,
    ScriptedServer,
    Step,
    make_certificate,
    ok,
    tls_context,
)


def test_a_certificate_of_the_bundle_is_trusted(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with (
        ScriptedServer(ok({"status": 1}), tls=certificate) as server,
        DatahubClient(server.url, ca_bundle=certificate) as client,
    ):
        assert client.notify("t") is TaskStatus.RUNNING


@pytest.mark.parametrize("name", ["localhost", "elsewhere"])
def test_a_wrong_certificate_is_final(tmp_path: Path, name: str) -> None:
    """Self-signed and unknown; then known, but of another host."""
    certificate = make_certificate(tmp_path, name)
    bundle = None if name == "localhost" else certificate
    with (
        ScriptedServer(tls=certificate) as server,
        DatahubClient(server.url, ca_bundle=bundle) as client,
        pytest.raises(CertificateError, match=r"POST /x at localhost.* not trusted"),
    ):
        client.post("/x", b"{}")
    assert server.connections == 1
    assert not server.requests


def test_the_systems_trust_can_be_set_by_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with ScriptedServer(tls=certificate) as server, DatahubClient(server.url) as client:
        client.post("/x", b"{}")


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_bundle_that_cannot_be_read_is_named(tmp_path: Path, content: str | None) -> None:
    bundle = tmp_path / "bundle.pem"
    if content:
        bundle.write_text(content)
    with pytest.raises(ConfigurationError, match=r"bundle\.pem: "):
        DatahubClient("https://localhost", ca_bundle=bundle)


def test_the_environment_has_no_say_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer() as server, ScriptedServer() as proxy:
        for name in ("http_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        with DatahubClient(server.url) as client:
            client.post("/x", b"{}")
        assert not proxy.requests
        with DatahubClient("http://datahub.invalid", proxy="env") as client:
            client.post("/x", b"{}")
    assert proxy.requests[0].target == "http://datahub.invalid/x"


def test_a_proxy_is_used_with_its_password() -> None:
    with ScriptedServer() as proxy:
        address = proxy.url.replace("http://", "http://user:word@")
        with DatahubClient("http://datahub.invalid", proxy=address) as client:
            client.post("/x", b"{}")
    assert proxy.requests[0].header("Proxy-Authorization") == "Basic dXNlcjp3b3Jk"


def tunnel(certificate: Path) -> Step:
    """Take a CONNECT as a proxy does, and be the server behind it, too."""

    def step(exchange: Exchange) -> bool:
        exchange.socket.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        with tls_context(certificate).wrap_socket(exchange.socket, server_side=True) as inner:
            while b"{}" not in inner.recv(4096):
                pass
            ok()(Exchange(exchange.request, inner, exchange.stopped))
        return False

    return step


def test_https_goes_through_a_proxys_tunnel(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "datahub.invalid")
    with (
        ScriptedServer(tunnel(certificate)) as proxy,
        DatahubClient(
            "https://datahub.invalid",
            credentials=Credentials(key="k", secret=SecretStr("s")),
            proxy=f"localhost:{proxy.port}",
            ca_bundle=certificate,
        ) as client,
    ):
        client.post("/x", b"{}", patience=0)
    (request,) = proxy.requests
    assert f"{request.method} {request.target}" == "CONNECT datahub.invalid:443"
    assert request.header("D-SIGNATURE") is None


@pytest.mark.parametrize("proxy", ["socks5://u:pass-4713@h:1", "http://u:pass-4713@h:port"])
def test_an_unusable_proxy_is_refused_without_its_password(proxy: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        DatahubClient("http://localhost", proxy=proxy)
    assert "4713" not in str(caught.value)
