"""One attempt at a call to Datahub: signed, within a deadline, and what came of it."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote, urlencode

import httpx

from plugin_framework._version import __version__
from plugin_framework.errors import (
    CertificateError,
    Code,
    ConnectionFailedError,
    DatahubError,
    InvalidAnswerError,
)
from plugin_framework.protocol.answer import Answer, data_of, envelope_of
from plugin_framework.protocol.credentials import Credentials
from plugin_framework.protocol.signing import VALIDITY_SECONDS
from plugin_framework.protocol.transport import (
    Attempt,
    DeadlineTransport,
    chosen_proxy,
    lacks_tls,
    limited_to,
    trust,
)

MAXIMUM_BODY = 32 * 1024 * 1024
"""Bytes of an answer; a longer one is not the protocol's."""

_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": f"datahub-plugin-framework/{__version__}",
}
# httpx and httpcore log URLs and headers; stamina's line would repeat ours.
_LIBRARY_LEVELS = {
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "stamina": logging.ERROR,
}
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)

Guard = Callable[[str, bytes], float]
"""Asked before each attempt at a call, with its path and body: for how many seconds it may be made.

It may raise a DatahubError instead.
"""


@dataclass(frozen=True, slots=True)
class Request:
    """A call; ``body`` goes out as it stands."""

    method: Literal["GET", "POST"]
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def changes(self) -> bool:
        """Whether it may change something at Datahub."""
        return self.method == "POST"

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{self.path}?{urlencode(self.query, quote_via=quote)}" if self.query else self.path


class Caller:
    """Makes attempts over one pool of kept connections; for use by many threads.

    See ``DatahubClient`` for what it is given.
    """

    def __init__(
        self,
        base_url: str,
        *,
        credentials: Credentials,
        connect_timeout: float,
        request_deadline: float,
        ca_bundle: Path | None,
        proxy: str | None,
        clock: Callable[[], float],
    ) -> None:
        self._base_url = httpx.URL(base_url.rstrip("/"))
        self._credentials = credentials
        self._connect_timeout = connect_timeout
        self._request_deadline = request_deadline
        self._clock = clock
        self._clock_offset = 0.0  # seconds the server's clock is ahead, where that matters
        self._http = _http_client(self._base_url, ca_bundle, proxy)
        self._guard: Guard | None = None

    def guarded(self, guard: Guard) -> Self:
        """This caller, over the same connections, with a guard."""
        guarded = copy.copy(self)
        guarded._guard = guard  # noqa: SLF001 - our own class
        return guarded

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def attempt(self, request: Request, deadline: float | None) -> Any:
        """Make one attempt at a call, and return the envelope's data.

        A refused signature is made anew once, by the server's clock. ``deadline`` is in seconds.

        Raises:
            RetryableError: the next attempt may succeed.
            FinalError: it would not.
        """
        seconds = min(self._request_deadline, math.inf if deadline is None else deadline)
        if self._guard is not None:
            seconds = min(seconds, self._guard(request.path, request.body))
        with limited_to(seconds, breaking=self._guard is not None) as attempt:
            answer = self._exchange(request, attempt)
            if answer.unauthenticated and self._credentials.sign:
                self._follow_clock_of(answer)
                answer = self._exchange(request, attempt)
        return data_of(answer, self._clock())

    def now(self) -> int:
        """The time in Unix seconds, by the server's clock where ours is off."""
        return int(self._clock() + self._clock_offset)

    def name_of(self, request: Request) -> str:
        """What to call a request, and where it goes, in messages."""
        return f"{request.method} {request.path} at {self._base_url.netloc.decode()}"

    def _follow_clock_of(self, answer: Answer) -> None:
        if answer.date is not None:
            ahead = answer.date - self._clock()
            self._clock_offset = ahead if abs(ahead) > VALIDITY_SECONDS else 0.0

    def _exchange(self, request: Request, attempt: Attempt) -> Answer:
        """Send the request, signed at this moment, and read the answer to its end."""
        proof = self._credentials.headers(request.query, request.body, self.now())
        # Many servers read a body as JSON only where it is called that.
        kind = {"Content-Type": "application/json"} if request.changes else {}
        try:
            with self._http.stream(
                request.method,
                f"{self._base_url}{request.target}",
                content=request.body if request.changes else None,
                headers={**kind, **proof},
                timeout=httpx.Timeout(attempt.left(None), connect=self._connect_timeout),
            ) as response:
                body = self._body(request, response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # Without its cause: httpx's errors carry the request, and with it the signature.
            raise self._failure(request, error, attempt) from None
        return Answer(
            call=self.name_of(request),
            changes=request.changes,
            status=response.status_code,
            headers=response.headers,
            envelope=envelope_of(body, response.headers, self._credentials.secrets(proof)),
        )

    def _body(self, request: Request, response: httpx.Response) -> bytes:
        """The body as sent: never decoded, since a few bytes of gzip can become gigabytes."""
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > MAXIMUM_BODY:
                raise InvalidAnswerError(
                    f"{self.name_of(request)}: the answer is longer than {MAXIMUM_BODY} bytes",
                    unknown_outcome=request.changes,
                )
        return bytes(body)

    def _failure(self, request: Request, error: Exception, attempt: Attempt) -> DatahubError:
        call = self.name_of(request)
        if attempt.distrust:
            return CertificateError(
                f"{call}: the TLS certificate is not trusted ({attempt.distrust})"
            )
        if isinstance(error, _NOT_SENT):
            hint = "; no TLS is spoken there: http:// instead?" if lacks_tls(error) else ""
            return ConnectionFailedError(f"{call}: no connection ({error}{hint})")
        if isinstance(error, httpx.TimeoutException):
            message = f"{call}: no whole answer in time"
        elif isinstance(error, httpx.NetworkError) or attempt.peer_closed:
            message = f"{call}: the connection broke before the whole answer came"
        else:
            return InvalidAnswerError(
                f"{call}: the answer is not HTTP", unknown_outcome=request.changes
            )
        return ConnectionFailedError(
            message, unknown_outcome=request.changes, code=Code.NO_WHOLE_ANSWER
        )


def _http_client(base_url: httpx.URL, ca_bundle: Path | None, proxy: str | None) -> httpx.Client:
    for name, level in _LIBRARY_LEVELS.items():
        logging.getLogger(name).setLevel(level)
    via = chosen_proxy(proxy, base_url)
    uses_tls = base_url.scheme == "https" or (via is not None and via.url.scheme == "https")
    transport = DeadlineTransport(tls=trust(ca_bundle) if uses_tls else None, proxy=via)
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return httpx.Client(
        transport=transport,
        headers=_HEADERS,
        cookies=no_cookies,
        follow_redirects=False,
        trust_env=False,
    )
