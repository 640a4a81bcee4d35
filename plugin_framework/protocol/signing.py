"""How both sides sign (PROTOCOL.md, 2.1)."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from plugin_framework.errors import Code, DatahubError

VALIDITY_SECONDS = 300
"""A timestamp may be off by this much either way."""

MEMORY_SECONDS = 2 * VALIDITY_SECONDS
"""How long a signature may be valid after it was first seen: from one end of its window on."""

MOST_REMEMBERED = 1_000_000
"""Signatures, at about 100 bytes each."""

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,11}", re.ASCII)
_SIGNED_BY = (b"d-api-key", b"d-timestamp", b"d-signature")
_SIGNATURE = re.compile(rb"[0-9a-f]{64}")
_SPANS = 10


def canonical_query(query: Mapping[str, str]) -> str:
    """The query parameters as signed: sorted JSON without white space, or nothing."""
    return json.dumps(query, sort_keys=True, separators=(",", ":")) if query else ""


def sign(secret: str, query: Mapping[str, str], body: bytes, timestamp: str) -> str:
    """The lowercase hex HMAC-SHA256 of ``query_json + body + timestamp``."""
    return sign_message(secret, canonical_query(query).encode() + body, timestamp)


def sign_message(secret: str, content: bytes, timestamp: str) -> str:
    """As ``sign``, of query and body as they are written."""
    message = content + timestamp.encode()
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def signature_headers(
    key: str, secret: str, query: Mapping[str, str], body: bytes, timestamp: int
) -> dict[str, str]:
    """The three headers of a signed request; ``timestamp`` is in Unix seconds."""
    return {
        "D-API-KEY": key,
        "D-TIMESTAMP": str(timestamp),
        "D-SIGNATURE": sign(secret, query, body, str(timestamp)),
    }


def timestamp_is_valid(timestamp: str, now: float) -> bool:
    """Whether the text is a plain decimal number within the validity window of ``now``."""
    if not _DECIMAL.fullmatch(timestamp):
        return False
    return abs(now - int(timestamp)) <= VALIDITY_SECONDS


def signature_is_valid(
    signature: str, secrets: Iterable[str], query: Mapping[str, str], body: bytes, timestamp: str
) -> bool:
    """Whether one of the secrets made the signature; compared as bytes, in constant time."""
    given = signature.encode("utf-8", "surrogateescape")
    matches = [
        hmac.compare_digest(given, sign(secret, query, body, timestamp).encode())
        for secret in secrets
    ]
    return any(matches)


class NotSignedError(DatahubError):
    """A request does not prove that it comes from Datahub, or was taken before."""

    code = Code.NOT_SIGNED


_WRONG = "the key or the signature is wrong"


class Inbound:
    """Tells Datahub's requests from others. Any of the secrets will do, so that they can change."""

    def __init__(self, key: str, secrets: Iterable[str]) -> None:
        self._key = key.encode()
        self._secrets = tuple(secrets)

    def check(
        self,
        headers: Iterable[tuple[bytes, bytes]],
        query: Mapping[str, str],
        body: bytes,
        now: float,
    ) -> int:
        """The number that stands for the signature of a request, in 64 bits, signed.

        Header names may be in any case.

        Raises:
            NotSignedError: a header is missing, doubled or malformed, the time is off by more than
                300 s, or the key or the signature is wrong.
        """
        text, signature = self.check_headers(headers, now)
        signed = [
            hmac.compare_digest(signature, sign_message(secret, written + body, text).encode())
            for secret in self._secrets
            for written in _written_queries(query)
        ]
        if not any(signed):
            raise NotSignedError(_WRONG)
        return number_of(signature)

    def check_headers(
        self, headers: Iterable[tuple[bytes, bytes]], now: float
    ) -> tuple[str, bytes]:
        """Timestamp and signature of a request whose body is yet to be read.

        Raises:
            NotSignedError: as of ``check``, for all but a wrong signature.
        """
        key, timestamp, signature = _only(headers)
        text = timestamp.decode("latin-1")
        if not timestamp_is_valid(text, now):
            raise NotSignedError("D-TIMESTAMP is not the time in Unix seconds, within 300 s")
        # One message for both: it tells nobody which of them was wrong.
        if not hmac.compare_digest(key, self._key) or not _SIGNATURE.fullmatch(signature):
            raise NotSignedError(_WRONG)
        return text, signature


def number_of(signature: bytes) -> int:
    """A number that stands for a signature, and from which nobody can make it."""
    return int.from_bytes(hashlib.sha256(signature).digest()[:8], "big", signed=True)


class Seen:
    """Remembers what was taken for as long as it could be valid again. For several threads.

    It goes by the monotonic clock, so that a clock that is set back forgets nothing.
    """

    def __init__(
        self, *, limit: int = MOST_REMEMBERED, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._spans: deque[tuple[float, set[int]]] = deque()

    def remember(self, taken: Iterable[tuple[int, float]]) -> None:
        """Know these, each taken so many seconds ago."""
        now = self._clock()
        with self._lock:
            for number, age in sorted(taken, key=lambda one: -one[1]):
                self._add(number, now - age)

    def take(self, number: int) -> None:
        """Take a call, once.

        Raises:
            NotSignedError: it was taken before.
            OverflowError: there is no room to remember more.
        """
        now = self._clock()
        with self._lock:
            while self._spans and self._spans[0][0] < now - MEMORY_SECONDS * (1 + 1 / _SPANS):
                self._spans.popleft()
            if any(number in known for _, known in self._spans):
                raise NotSignedError("this request was taken before: sign it anew")
            if sum(len(known) for _, known in self._spans) >= self._limit:
                raise OverflowError("too many requests within ten minutes")
            self._add(number, now)

    def _add(self, number: int, at: float) -> None:
        if not self._spans or self._spans[-1][0] < at - MEMORY_SECONDS / _SPANS:
            self._spans.append((at, set()))
        self._spans[-1][1].add(number)


def _only(headers: Iterable[tuple[bytes, bytes]]) -> Sequence[bytes]:
    given: dict[bytes, list[bytes]] = {name: [] for name in _SIGNED_BY}
    for name, value in headers:
        if name.lower() in given:
            given[name.lower()].append(value)
    for name, values in given.items():
        if len(values) != 1:
            raise NotSignedError(f"{name.decode().upper()} must be given once")
    return [values[0] for values in given.values()]


def _written_queries(query: Mapping[str, str]) -> set[bytes]:
    """The query as signed: with other than ASCII characters escaped, or as they are."""
    escaped = canonical_query(query)
    if not query:
        return {b""}
    plain = json.dumps(query, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return {escaped.encode(), plain.encode("utf-8", "surrogatepass")}
