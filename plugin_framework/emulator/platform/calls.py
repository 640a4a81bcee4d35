"""Signed calls to plugin services, each over within its deadline whatever the service does."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx

from plugin_framework.emulator.api import Credentials
from plugin_framework.protocol.signing import MEMORY_SECONDS, signature_headers

CALL_SECONDS: Final = 10.0
"""How long a service may take to answer one call."""

ANSWER_LIMIT: Final = 1024 * 1024
"""Bytes of an answer."""

_CONNECT_SECONDS: Final = 5.0
_IDLE_SECONDS: Final = 2.0  # shorter than a server keeps a connection that nobody uses


class CallError(Exception):
    """There is no answer. ``arrived``: the service may have taken the call all the same."""

    def __init__(self, problem: str, *, arrived: bool) -> None:
        super().__init__(problem)
        self.arrived = arrived


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service answered; ``retry_after`` in seconds, where it says so."""

    status: int
    body: bytes
    retry_after: float | None = None


class Signer:
    """Signs as PROTOCOL.md, 2.1. No two calls get the same signature: the second is a replay."""

    def __init__(self, credentials: Credentials | None) -> None:
        self._credentials = credentials
        self._used: set[str] = set()
        self._order: deque[tuple[float, str]] = deque()

    def headers(self, query: Mapping[str, str], body: bytes) -> dict[str, str]:
        """The headers that authenticate a call; none where there are no credentials."""
        if self._credentials is None:
            return {}
        now = time.time()
        while self._order and self._order[0][0] < now - MEMORY_SECONDS:
            self._used.discard(self._order.popleft()[1])
        key, secret = self._credentials.key, self._credentials.secret
        timestamp = int(now)
        while True:
            headers = signature_headers(key, secret, query, body, timestamp)
            if headers["D-SIGNATURE"] not in self._used:
                break
            timestamp += 1  # a clock may be off by 300 s
        self._used.add(headers["D-SIGNATURE"])
        self._order.append((now, headers["D-SIGNATURE"]))
        return headers


class Caller:
    """Calls services: no proxies, no redirects, no cookies. For one event loop.

    ``around`` may put something in front of what sends the calls.

    All calls raise:
        CallError: no whole answer came in time.
    """

    def __init__(
        self,
        credentials: Credentials | None,
        around: Callable[[httpx.AsyncBaseTransport], httpx.AsyncBaseTransport] = lambda it: it,
    ) -> None:
        self._signer = Signer(credentials)
        limits = httpx.Limits(keepalive_expiry=_IDLE_SECONDS)
        self._http = httpx.AsyncClient(
            transport=around(
                httpx.AsyncHTTPTransport(verify=_trust(), trust_env=False, limits=limits)
            ),
            trust_env=False,
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={"User-Agent": "datahub-emulator", "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def post(self, url: str, body: bytes) -> Answer:
        """POST a JSON text."""
        headers = {"Content-Type": "application/json", **self._signer.headers({}, body)}
        request = self._http.build_request("POST", url, content=body, headers=headers)
        return await self._send(request, CALL_SECONDS, ANSWER_LIMIT)

    async def get(
        self,
        url: str,
        query: Mapping[str, str],
        *,
        seconds: float = CALL_SECONDS,
        limit: int = ANSWER_LIMIT,
    ) -> Answer:
        """GET an answer of at most ``limit`` bytes, in ``seconds``."""
        headers = self._signer.headers(query, b"")
        request = self._http.build_request("GET", url, params=dict(query), headers=headers)
        return await self._send(request, seconds, limit)

    async def _send(self, request: httpx.Request, seconds: float, limit: int) -> Answer:
        try:
            async with asyncio.timeout(seconds):
                answer = await self._http.send(request, stream=True)
                try:
                    return await _read(answer, limit)
                finally:
                    await answer.aclose()
        except TimeoutError:
            raise CallError(f"no answer within {seconds:g} s", arrived=True) from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise CallError(f"it cannot be reached ({_reason(error)})", arrived=False) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise CallError(f"no HTTP answer ({_reason(error)})", arrived=True) from None


@cache
def _trust() -> ssl.SSLContext:
    """Reading the system's certificates takes a while: once is enough."""
    return ssl.create_default_context()


async def _read(answer: httpx.Response, limit: int) -> Answer:
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > limit:
            raise CallError(f"an answer of more than {limit} bytes", arrived=True)
    return Answer(answer.status_code, bytes(body), _seconds(answer.headers.get("retry-after")))


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() else None


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
