"""The client of the Datahub API: signed calls, each with a deadline, retried (PROTOCOL.md)."""

from __future__ import annotations

import copy
import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote, urlencode

import httpx
from pydantic import BaseModel, SecretStr, ValidationError

from plugin_framework._version import __version__
from plugin_framework.errors import (
    CertificateError,
    Code,
    ConfigurationError,
    ConnectionFailedError,
    DatahubError,
    InvalidAnswerError,
    InvalidResultError,
)
from plugin_framework.protocol.answer import Answer, data_of, envelope_of, invalid_data
from plugin_framework.protocol.backoff import AskFirst, with_patience
from plugin_framework.protocol.models import (
    DownloadTicket,
    Heartbeat,
    Notification,
    TaskStatus,
    UploadCompletion,
    UploadRequest,
    UploadTicket,
)
from plugin_framework.protocol.signing import VALIDITY_SECONDS, signature_headers
from plugin_framework.protocol.transport import (
    Attempt,
    DeadlineTransport,
    chosen_proxy,
    limited_to,
    trust,
)

PATIENCE = 60.0
"""Seconds during which a call is retried, unless the caller says otherwise."""

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

Model = TypeVar("Model", bound=BaseModel)
Guard = Callable[[str, bytes], float]
"""Asked before each attempt at a call, with its path and body: for how many seconds it may be made.

It may raise a DatahubError instead.
"""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Key and secret sign; else the token is sent as a bearer; else nothing (part 3).

    Raises:
        ConfigurationError: the key or the token cannot go into a header.
    """

    key: str | None = None
    secret: SecretStr | None = None
    token: SecretStr | None = None

    def __post_init__(self) -> None:
        token = self.token.get_secret_value() if self.token else ""
        for name, value in (("API key", self.key or ""), ("token", token)):
            if not (value.isascii() and value.isprintable()):
                raise ConfigurationError(
                    f"the {name} must be printable ASCII", code=Code.SETTING_WRONG
                )

    @property
    def sign(self) -> bool:
        """Whether requests are signed."""
        return bool(self.key and self.secret)

    def headers(self, query: Mapping[str, str], body: bytes, timestamp: int) -> dict[str, str]:
        """The headers that authenticate a request; ``timestamp`` is in Unix seconds."""
        if self.key and self.secret:
            secret = self.secret.get_secret_value()
            return signature_headers(self.key, secret, query, body, timestamp)
        if self.token:
            return {"Authorization": f"Bearer {self.token.get_secret_value()}"}
        return {}

    def secrets(self, headers: Mapping[str, str]) -> list[str]:
        """What must not be printed, even where the server says it, of a request so signed."""
        own = [secret.get_secret_value() for secret in (self.secret, self.token) if secret]
        return [*own, headers["D-SIGNATURE"]] if self.sign else own


NO_CREDENTIALS = Credentials()


@dataclass(frozen=True, slots=True)
class _Request:
    method: Literal["GET", "POST"]
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def changes(self) -> bool:
        return self.method == "POST"

    @property
    def target(self) -> str:
        return f"{self.path}?{urlencode(self.query, quote_via=quote)}" if self.query else self.path


class DatahubClient:
    """Datahub's API over one pool of kept connections; for use by many threads.

    Calls are retried for ``patience`` seconds (0: one attempt). An attempt takes no longer than
    ``request_deadline`` seconds, or ``deadline`` where that is less. ``clock`` gives Unix
    seconds for timestamps; all waiting goes by the monotonic clock.

    Every call raises:
        RetryableError: it did not succeed within its patience.
        FinalError: it would not succeed if it were repeated.
    """

    def __init__(
        self,
        base_url: str,
        *,
        credentials: Credentials = NO_CREDENTIALS,
        connect_timeout: float = 5.0,
        request_deadline: float = 60.0,
        ca_bundle: Path | None = None,
        proxy: str | None = None,
        upload_fields: Literal["sample", "joined"] = "sample",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._base_url = httpx.URL(base_url.rstrip("/"))
        self._credentials = credentials
        self._connect_timeout = connect_timeout
        self._request_deadline = request_deadline
        self._upload_fields = upload_fields
        self._clock = clock
        self._clock_offset = 0.0  # seconds the server's clock is ahead, where that matters
        self._http = _http_client(self._base_url, ca_bundle, proxy)
        self._guard: Guard | None = None

    def guarded(self, guard: Guard) -> Self:
        """This client, over the same connections, for one who may not call at any time.

        What is given up does not arrive later: its connection is broken, not closed.
        """
        guarded = copy.copy(self)
        guarded._guard = guard  # noqa: SLF001 - our own class
        return guarded

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def update_status(
        self,
        subtask_id: str,
        status: TaskStatus,
        *,
        patience: float = PATIENCE,
        deadline: float | None = None,
        applied: Callable[[], bool] | None = None,
    ) -> None:
        """Report a change of status (1.5); ``applied`` as in ``post``."""
        path, body = status_report(subtask_id, status)
        self.post(path, body, patience=patience, deadline=deadline, applied=applied)

    def heartbeat(
        self,
        subtask_id: str,
        percent: int,
        *,
        patience: float = 0.0,
        deadline: float | None = None,
    ) -> None:
        """Report progress, 0 to 100 percent, and that the task is alive (1.6)."""
        beat = Heartbeat(subtask_id=subtask_id, timestamp=self._now(), process=percent)
        body = _json(beat.model_dump())
        self.post("/api/task/heartbeat", body, patience=patience, deadline=deadline)

    def result(
        self,
        subtask_id: str,
        result: Mapping[str, Any],
        *,
        patience: float = PATIENCE,
        deadline: float | None = None,
        applied: Callable[[], bool] | None = None,
    ) -> None:
        """Report the final result, which sets status 3 (1.7); ``applied`` as in ``post``.

        Raises:
            InvalidResultError: the result is not JSON.
        """
        path, body = result_report(subtask_id, result)
        self.post(path, body, patience=patience, deadline=deadline, applied=applied)

    def notify(
        self, task_id: str, *, patience: float = PATIENCE, deadline: float | None = None
    ) -> TaskStatus:
        """Ask for a task's current status (1.8)."""
        request = _Request("GET", "/api/task/notify", {"task_id": task_id})
        return self._read(Notification, request, patience, deadline).status

    def upload_init(
        self, request: UploadRequest, *, patience: float = PATIENCE, deadline: float | None = None
    ) -> UploadTicket:
        """Start an upload (1.1). Repeated after an unknown outcome: that costs an unused one."""
        body = _json(request.body(self._upload_fields))
        sent = _Request("POST", "/api/task/upload/init", body=body)
        return self._read(UploadTicket, sent, patience, deadline)

    def upload_complete(
        self,
        completion: UploadCompletion,
        *,
        patience: float = PATIENCE,
        deadline: float | None = None,
        applied: Callable[[], bool] | None = None,
    ) -> None:
        """Put the stored parts together (1.3); ``applied`` as in ``post``."""
        body = _json(completion.model_dump())
        path = "/api/task/upload/complete"
        self.post(path, body, patience=patience, deadline=deadline, applied=applied)

    def download_presign(
        self, subtask_id: str, *, patience: float = PATIENCE, deadline: float | None = None
    ) -> DownloadTicket:
        """Ask where the subtask's input can be fetched (1.4)."""
        request = _Request("GET", "/api/task/download/presign", {"subtask_id": subtask_id})
        return self._read(DownloadTicket, request, patience, deadline)

    def post(
        self,
        path: str,
        body: bytes,
        *,
        patience: float = PATIENCE,
        deadline: float | None = None,
        applied: Callable[[], bool] | None = None,
    ) -> Any:
        """Send exactly these bytes, and return the envelope's data.

        ``applied`` is asked before an attempt that follows one of unknown outcome: True ends
        the call as a success, with no data. It may raise RetryableError, and be asked again.
        """

        def send() -> Any:
            return self._attempt(_Request("POST", path, body=body), deadline)

        return with_patience(AskFirst(send, applied) if applied else send, patience)

    def _read(
        self, model: type[Model], request: _Request, patience: float, deadline: float | None
    ) -> Model:
        def attempt() -> Model:
            data = self._attempt(request, deadline)
            try:
                return model.model_validate(data)
            except ValidationError as error:
                call = self._name(request)
                raise invalid_data(call, error, changes=request.changes) from None

        return with_patience(attempt, patience)

    def _attempt(self, request: _Request, deadline: float | None) -> Any:
        """Make one attempt; a refused signature is made anew once, by the server's clock."""
        seconds = min(self._request_deadline, math.inf if deadline is None else deadline)
        if self._guard is not None:
            seconds = min(seconds, self._guard(request.path, request.body))
        with limited_to(seconds, breaking=self._guard is not None) as attempt:
            answer = self._exchange(request, attempt)
            if answer.unauthenticated and self._credentials.sign:
                self._follow_clock_of(answer)
                answer = self._exchange(request, attempt)
        return data_of(answer, self._clock())

    def _follow_clock_of(self, answer: Answer) -> None:
        if answer.date is not None:
            ahead = answer.date - self._clock()
            self._clock_offset = ahead if abs(ahead) > VALIDITY_SECONDS else 0.0

    def _now(self) -> int:
        return int(self._clock() + self._clock_offset)

    def _exchange(self, request: _Request, attempt: Attempt) -> Answer:
        """Send the request, signed at this moment, and read the answer to its end."""
        proof = self._credentials.headers(request.query, request.body, self._now())
        try:
            with self._http.stream(
                request.method,
                f"{self._base_url}{request.target}",
                content=request.body if request.changes else None,
                headers=proof,
                timeout=httpx.Timeout(attempt.left(None), connect=self._connect_timeout),
            ) as response:
                body = self._body(request, response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # Without its cause: httpx's errors carry the request, and with it the signature.
            raise self._failure(request, error, attempt) from None
        return Answer(
            call=self._name(request),
            changes=request.changes,
            status=response.status_code,
            headers=response.headers,
            envelope=envelope_of(body, response.headers, self._credentials.secrets(proof)),
        )

    def _body(self, request: _Request, response: httpx.Response) -> bytes:
        """The body as sent: never decoded, since a few bytes of gzip can become gigabytes."""
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > MAXIMUM_BODY:
                raise InvalidAnswerError(
                    f"{self._name(request)}: the answer is longer than {MAXIMUM_BODY} bytes",
                    unknown_outcome=request.changes,
                )
        return bytes(body)

    def _failure(self, request: _Request, error: Exception, attempt: Attempt) -> DatahubError:
        call = self._name(request)
        if attempt.distrust:
            return CertificateError(
                f"{call}: the TLS certificate is not trusted ({attempt.distrust})"
            )
        if isinstance(error, _NOT_SENT):
            return ConnectionFailedError(f"{call}: no connection ({error})")
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

    def _name(self, request: _Request) -> str:
        return f"{request.method} {request.path} at {self._base_url.netloc.decode()}"


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


def status_report(subtask_id: str, status: TaskStatus) -> tuple[str, bytes]:
    """Path and body of an update_status call (1.5)."""
    return "/api/task/update_status", _json({"subtask_id": subtask_id, "status": int(status)})


def result_report(subtask_id: str, result: Mapping[str, Any]) -> tuple[str, bytes]:
    """Path and body of a result call (1.7).

    Raises:
        InvalidResultError: the result is not JSON; NaN and infinity are not.
    """
    try:
        return "/api/task/result", _json({"subtask_id": subtask_id, "result": dict(result)})
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidResultError(f"the result is not JSON: {error}") from error


def _json(message: Mapping[str, Any]) -> bytes:
    text = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()
