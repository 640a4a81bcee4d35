"""One signed question to Datahub, and everything about the answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

import httpx
from pydantic import SecretStr

from plugin_framework.errors import ConfigurationError
from plugin_framework.protocol.answer import Answer, envelope_of
from plugin_framework.protocol.credentials import Credentials
from plugin_framework.protocol.transport import (
    Attempt,
    DeadlineTransport,
    chosen_proxy,
    limited_to,
    trust,
)
from plugin_framework.settings import Settings

SECONDS = 4.5
"""How long it may take; less than a check may, so that it can say what it took it for."""

NOBODY = "datahub-plugin-doctor"
"""The task that is asked about: there is none, and asking about it changes nothing."""

_MOST = 1024 * 1024

Trouble = Literal["settings", "tls", "proxy", "time", "connection", "answer"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the server has shown. ``ends`` is in Unix seconds."""

    protocol: str
    issuer: str
    ends: float


@dataclass(frozen=True, slots=True)
class Exchange:
    """What came of it: an ``answer``, or the ``trouble`` and its reason.

    ``ahead`` is how many seconds the server's clock is ahead of this one, where it says the time.
    """

    answer: Answer | None = None
    certificate: Certificate | None = None
    ahead: float | None = None
    trouble: Trouble | None = None
    reason: str = ""


def credentials_of(settings: Settings) -> Credentials:
    """What calls are signed with."""
    return Credentials(plain(settings.api_key), settings.api_secret, settings.token)


def plain(secret: SecretStr | None) -> str | None:
    """The secret itself."""
    return secret.get_secret_value() if secret else None


def ask(settings: Settings, *, ahead: float = 0.0) -> Exchange:
    """Ask Datahub for the status of a task that is not there, signed at ``ahead`` from now."""
    query = {"task_id": NOBODY}
    credentials = credentials_of(settings)
    headers = credentials.headers(query, b"", int(time.time() + ahead))
    url = f"{settings.require_datahub()}/api/task/notify?{urlencode(query)}"
    return get(settings, url, headers, credentials.secrets(headers))


def get(settings: Settings, url: str, headers: Mapping[str, str], secrets: list[str]) -> Exchange:
    """Fetch ``url`` as calls to Datahub are made: by the same trust and the same proxy."""
    try:
        via = chosen_proxy(plain(settings.proxy), httpx.URL(url))
        secure = url.startswith("https://") or (via is not None and via.url.scheme == "https")
        tls = trust(settings.ca_bundle) if secure else None
    except ConfigurationError as error:
        return Exchange(trouble="settings", reason=str(error))
    client = httpx.Client(transport=DeadlineTransport(tls=tls, proxy=via), trust_env=False)
    with client, limited_to(SECONDS) as attempt:
        try:
            return _exchange(client, url, headers, secrets)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            trouble, reason = _trouble(error, attempt, secure=url.startswith("https://"))
            return Exchange(trouble=trouble, reason=reason)


def _exchange(
    client: httpx.Client, url: str, headers: Mapping[str, str], secrets: list[str]
) -> Exchange:
    began = time.time()
    with client.stream("GET", url, headers=headers, timeout=SECONDS) as response:
        certificate = _certificate(response)
        arrived = time.time()
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > _MOST:
                break
    answer = Answer(
        call=f"GET {urlsplit(url).path}",
        changes=False,
        status=response.status_code,
        headers=response.headers,
        envelope=envelope_of(bytes(body), response.headers, secrets),
    )
    # A Date has no fractions: half a second is the middle of what it can mean.
    ahead = None if answer.date is None else answer.date + 0.5 - (began + arrived) / 2
    return Exchange(answer, certificate, ahead)


def _certificate(response: httpx.Response) -> Certificate | None:
    import ssl  # noqa: PLC0415 - heavy, and of use only here

    tls = response.extensions["network_stream"].get_extra_info("ssl_object")
    shown: dict[str, Any] | None = tls.getpeercert() if tls is not None else None
    if not shown:
        return None
    issuer = {key: value for ((key, value),) in shown.get("issuer", ())}
    return Certificate(
        tls.version() or "TLS",
        issuer.get("organizationName") or issuer.get("commonName") or "an unnamed authority",
        float(ssl.cert_time_to_seconds(shown["notAfter"])),
    )


def _trouble(error: Exception, attempt: Attempt, *, secure: bool) -> tuple[Trouble, str]:
    if attempt.distrust:
        return "tls", attempt.distrust
    if isinstance(error, httpx.ProxyError):
        return "proxy", str(error)
    if isinstance(error, httpx.TimeoutException):
        return "time", f"no whole answer within {SECONDS:g} s"
    if isinstance(error, httpx.ConnectError):
        return ("tls" if secure and "SSL" in str(error) else "connection"), str(error)
    if isinstance(error, httpx.NetworkError) or attempt.peer_closed:
        return "connection", "the connection broke before the whole answer came"
    return "answer", "the answer is not HTTP"
