"""What a dialect is: schemes of signing, and a manner of answering."""

from __future__ import annotations

import base64
import hmac
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import quote, unquote_to_bytes, urlsplit
from xml.sax.saxutils import escape

from plugin_framework.emulator.dialects.refusals import ObjectStoreError

LONGEST_EXPIRY: Final = 7 * 24 * 3600
CLOCK_SKEW: Final = 15 * 60
UNRESERVED: Final = "-_.~"

Query = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came: raw path and query, header names in lower case."""

    method: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]]

    def header(self, name: str) -> str | None:
        """A header's values, joined as they are signed."""
        values = [" ".join(value.split()) for given, value in self.headers if given == name]
        return ",".join(values) if values else None


@dataclass(frozen=True, slots=True)
class Bucket:
    """The one bucket, by its URL. Keys come behind it, whatever else its path begins with."""

    url: str

    @property
    def name(self) -> str:
        """What the bucket is called."""
        return self.url.rpartition("/")[2]

    @property
    def host(self) -> str:
        """Host and port."""
        return urlsplit(self.url).netloc

    def address(self, key: str) -> str:
        """The URL of an object, without a query."""
        return f"{self.url}/{quoted(key, safe='/')}"

    def raw_key(self, path: str) -> str | None:
        """What of a request's path is the key, as it came; None outside the bucket."""
        base = f"{urlsplit(self.url).path}/"
        return path[len(base) :] if path.startswith(base) else None


class Scheme(Protocol):
    """One way to sign a URL."""

    def recognises(self, query: Query) -> bool:
        """Whether a query claims to be signed this way."""

    def sign(
        self, method: str, key: str, params: Mapping[str, str], expires: int, at: float
    ) -> str:
        """A URL that is good for ``expires`` seconds from ``at`` (Unix time)."""

    def verify(self, request: Request, now: float) -> None:
        """See that the signature is right, and its time has not passed.

        Raises:
            ObjectStoreError: with the store's own code for what is wrong.
        """


class Dialect(ABC):
    """A kind of object store. The first of its ``schemes`` signs; each of them is accepted."""

    def __init__(self, bucket: Bucket, schemes: Sequence[Scheme]) -> None:
        self.bucket = bucket
        self._schemes = schemes

    def sign(
        self, method: str, key: str, params: Mapping[str, str], expires: int, at: float
    ) -> str:
        """A presigned URL, good for ``expires`` seconds from ``at`` (Unix time)."""
        return self._schemes[0].sign(method, key, params, expires, at)

    def verify(self, request: Request, now: float) -> None:
        """Let in what one of the schemes signed.

        Raises:
            ObjectStoreError: with the store's own code for what is wrong.
        """
        query = parse_query(request.query)
        claimed = [scheme for scheme in self._schemes if scheme.recognises(query)]
        if not claimed:
            raise ObjectStoreError(403, "AccessDenied", "Access Denied")
        if request.header("authorization") is not None or len(claimed) > 1:
            raise ObjectStoreError.two_mechanisms()
        claimed[0].verify(request, now)

    @abstractmethod
    def etag(self, stored: str) -> str:
        """The ETag header for an object whose MD5, with ``-N`` behind it for parts, is this."""

    @abstractmethod
    def identity(self, request_id: str) -> dict[str, str]:
        """The headers that every answer has; ``request_id`` is 24 hexadecimal digits."""

    @abstractmethod
    def document(self, error: ObjectStoreError, request: Request, request_id: str) -> bytes:
        """The body that says what is wrong."""


def xml(elements: Mapping[str, str]) -> bytes:
    """An error document of these elements."""
    inner = "".join(f"<{name}>{_text(text)}</{name}>" for name, text in elements.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'.encode()


def parse_query(query: str) -> list[tuple[str, str]]:
    """Names and values, unquoted as stores do it: ``+`` is a plus."""
    pairs = [part.partition("=") for part in query.split("&") if part]
    return [(unquoted(name), unquoted(value)) for name, _, value in pairs]


def only(query: Query, name: str) -> str | None:
    """A parameter that is given once; None without it, or with more of it."""
    values = [value for given, value in query if given == name]
    return values[0] if len(values) == 1 else None


def quoted(text: str, safe: str = "") -> str:
    """Quoted as in a URL, all but unreserved and ``safe`` characters."""
    return quote(text.encode("utf-8", "surrogateescape"), safe=safe + UNRESERVED)


def unquoted(text: str) -> str:
    """The other way round; bytes that are no UTF-8 survive as surrogates."""
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")


def same(expected: str, provided: str) -> bool:
    """Whether two signatures are the same, in constant time."""
    return hmac.compare_digest(expected.encode(), provided.encode("utf-8", "surrogateescape"))


def number(text: str) -> int | None:
    """A plain decimal number of at most 12 digits."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None  # noqa: PLR2004 - enough for any time


def _text(text: str) -> str:
    # XML has no way to write control characters and lone surrogates.
    return escape("".join(char if char.isprintable() or char in "\t\n" else "?" for char in text))


def joined(query: Iterable[tuple[str, str]]) -> str:
    """A query of parameters whose names need no quoting."""
    return "&".join(f"{name}={quoted(value)}" for name, value in query)


def hmac_sha1(secret: str, text: str) -> str:
    """The signature of the older versions, in Base64."""
    data = text.encode("utf-8", "surrogateescape")
    return base64.b64encode(hmac.digest(secret.encode(), data, "sha1")).decode()
