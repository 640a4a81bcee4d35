"""What Datahub's answer means: data, or one of our errors (PROTOCOL.md, part 1)."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NoReturn

from pydantic import ValidationError

from plugin_framework.errors import (
    AuthenticationError,
    Code,
    InvalidAnswerError,
    RejectedError,
    ServerUnavailableError,
    UnusableAnswerError,
)
from plugin_framework.protocol.models import Envelope

MAXIMUM_RETRY_AFTER = 300.0
"""Seconds: a server that asks for more is asked again after this long."""

_MAXIMUM_MESSAGE = 300
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)
_URL_QUERY = re.compile(r"(https?://[^\s?]*)\?\S*")

# Answers of these statuses say that the request was not acted upon.
_NOT_APPLIED = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer.

    ``envelope`` is None where the body is not the protocol's. ``call`` names the request and
    the host, for messages; ``changes`` is whether the request may have changed something.
    """

    call: str
    changes: bool
    status: int
    headers: Mapping[str, str]
    envelope: Envelope | None

    @property
    def code(self) -> int:
        """The envelope's code; 0 where there is none."""
        return self.envelope.code if self.envelope else 0

    @property
    def succeeded(self) -> bool:
        """Whether the status is a 2xx; the envelope may say otherwise still."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def unauthenticated(self) -> bool:
        """Whether Datahub does not accept our credentials, or the time we signed at."""
        return HTTPStatus.UNAUTHORIZED in {self.status, self.code}

    @property
    def date(self) -> float | None:
        """When the server says it answered, in Unix seconds."""
        return _http_date(self.headers.get("Date", ""))


def envelope_of(body: bytes, headers: Mapping[str, str], secrets: Iterable[str]) -> Envelope | None:
    """The body read as an envelope, its message fit to print; None if it is not one."""
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        return None
    try:
        answer = json.loads(body)
        envelope = Envelope.of(answer) if isinstance(answer, dict) else None
    except (ValueError, RecursionError):
        return None
    if envelope is None:
        return None
    return envelope.model_copy(update={"msg": _printable(envelope.msg, secrets)})


def _printable(message: str, secrets: Iterable[str]) -> str:
    """One line of at most 300 characters, without control characters and secrets."""
    for secret in secrets:
        message = message.replace(secret, "***")
    message = _URL_QUERY.sub(r"\1?***", message)
    kept = (" " if unicodedata.category(char)[0] in "CZ" else char for char in message)
    return " ".join("".join(kept).split())[:_MAXIMUM_MESSAGE]


def data_of(answer: Answer, now: float) -> Any:
    """The envelope's data. ``now`` is in Unix seconds, for a Retry-After that is a date.

    Raises:
        ServerUnavailableError: 408, 429, 5xx, or code 500.
        AuthenticationError: status or code 401.
        RejectedError: another code than 0, or status 400.
        InvalidAnswerError: no envelope, or a redirect or another 4xx whose envelope says 0.
    """
    if _is_transient(answer):
        _raise_unavailable(answer, now)
    if answer.unauthenticated:
        raise AuthenticationError(f"{_outline(answer)}: check the key, the secret and the clock")
    if answer.code or answer.status == HTTPStatus.BAD_REQUEST:
        raise RejectedError(_outline(answer), answer.code or answer.status)
    if not answer.succeeded:
        # Datahub refuses in an envelope: this is a proxy, or another server at a wrong address.
        raise InvalidAnswerError(_outline(answer), code=Code.REJECTED_ON_THE_WAY)
    if answer.envelope is None:
        raise InvalidAnswerError(
            f"{answer.call}: the answer is not the protocol's JSON", unknown_outcome=answer.changes
        )
    return answer.envelope.data


def _is_transient(answer: Answer) -> bool:
    if answer.status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}:
        return True
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return True
    return answer.succeeded and answer.code == HTTPStatus.INTERNAL_SERVER_ERROR


def _raise_unavailable(answer: Answer, now: float) -> NoReturn:
    asked = answer.headers.get("Retry-After", "")
    raise ServerUnavailableError(
        _outline(answer),
        unknown_outcome=answer.changes and answer.status not in _NOT_APPLIED,
        retry_after=retry_after(asked, now if answer.date is None else answer.date),
    )


def _outline(answer: Answer) -> str:
    """What was called, and what came back, in a line."""
    outline = f"{answer.call}: HTTP {answer.status}"
    if answer.code:
        outline += f", code {answer.code}"
    if answer.envelope and answer.envelope.msg:
        outline += f" ({answer.envelope.msg})"
    return outline


def invalid_data(
    call: str, error: ValidationError, *, changes: bool
) -> InvalidAnswerError | UnusableAnswerError:
    """The error for data of the wrong shape; it names the fields, never their values.

    What changes something is not asked for again: Datahub would begin another upload each time.
    """
    fields = sorted({".".join(map(str, problem["loc"])) or "data" for problem in error.errors()})
    wrong = ", ".join(fields)[:_MAXIMUM_MESSAGE]
    message = f"{call}: the answer's data are wrong in {wrong}"
    return UnusableAnswerError(message) if changes else InvalidAnswerError(message)


def retry_after(value: str, now: float) -> float | None:
    """Seconds to wait, 0 to 300, out of a number or an HTTP date; None for anything else."""
    if _NUMBER.fullmatch(value):
        seconds = float(value)
    elif (date := _http_date(value)) is not None:
        seconds = date - now
    else:
        return None
    return min(max(seconds, 0.0), MAXIMUM_RETRY_AFTER)


def _http_date(value: str) -> float | None:
    try:
        date = parsedate_to_datetime(value)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
