"""Presigned URLs in S3's dialect: AWS Signature Version 4 in the query, made and checked.

The payload is never signed (``UNSIGNED-PAYLOAD``), and addresses are path-style.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote, unquote_to_bytes, urlsplit

from plugin_framework.emulator.s3_errors import S3Error

ALGORITHM: Final = "AWS4-HMAC-SHA256"
LONGEST_EXPIRY: Final = 7 * 24 * 3600
CLOCK_SKEW: Final = timedelta(minutes=15)
_DATE_FORMAT: Final = "%Y%m%dT%H%M%SZ"
_REQUIRED: Final = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
)

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
class Signer:
    """Signs and checks with one access key."""

    access_key: str
    secret: str = field(repr=False)
    region: str = "us-east-1"

    def presign(self, method: str, url: str, *, expires: int, at: float | None = None) -> str:
        """The URL with a signed query, valid for ``expires`` seconds from ``at`` (now)."""
        target = urlsplit(url)
        date = datetime.fromtimestamp(time.time() if at is None else at, UTC)
        query = [
            *parse_query(target.query),
            ("X-Amz-Algorithm", ALGORITHM),
            ("X-Amz-Credential", f"{self.access_key}/{self._scope(date)}"),
            ("X-Amz-Date", date.strftime(_DATE_FORMAT)),
            ("X-Amz-Expires", str(expires)),
            ("X-Amz-SignedHeaders", "host"),
        ]
        request = canonical_request(method, target.path, query, {"host": target.netloc})
        signature = self._signature(date, string_to_sign(date, self._scope(date), request))
        signed = f"{canonical_query(query)}&X-Amz-Signature={signature}"
        return target._replace(query=signed).geturl()

    def check(self, request: Request, now: float) -> None:
        """Check a presigned request, in the order S3 does.

        Raises:
            S3Error: with S3's own code for what is wrong.
        """
        query = parse_query(request.query)
        claim = self._claim(query)
        if request.header("authorization") is not None:
            raise S3Error.two_mechanisms()
        claim.check_time(datetime.fromtimestamp(now, UTC))
        unsigned = _unsigned_headers(request.headers, claim.signed_headers)
        if unsigned:
            raise S3Error.headers_not_signed(unsigned)
        headers = {name: request.header(name) or "" for name in claim.signed_headers}
        rest = [pair for pair in query if pair[0] != "X-Amz-Signature"]
        canonical = canonical_request(request.method, request.path, rest, headers)
        text = string_to_sign(claim.date, claim.scope, canonical)
        expected = self._signature(claim.date, text)
        provided = claim.signature.encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(expected.encode(), provided):
            raise S3Error.signature_does_not_match(
                self.access_key, text, claim.signature, canonical
            )

    def _claim(self, query: Query) -> _Claim:
        found = {name: [value for given, value in query if given == name] for name in _REQUIRED}
        if not any(found.values()):
            raise S3Error(403, "AccessDenied", "Access Denied")
        if any(len(values) != 1 for values in found.values()):
            raise S3Error.bad_query(f"Query-string authentication requires the {_NAMES}")
        claim = _Claim.of({name: values[0] for name, values in found.items()})
        if claim.access_key != self.access_key:
            raise S3Error.unknown_key(claim.access_key)
        if claim.scope != self._scope(claim.date):
            raise S3Error.bad_query("Error parsing the X-Amz-Credential parameter")
        return claim

    def _scope(self, date: datetime) -> str:
        return f"{date:%Y%m%d}/{self.region}/s3/aws4_request"

    def _signature(self, date: datetime, text: str) -> str:
        key = b"AWS4" + self.secret.encode()
        for step in self._scope(date).split("/"):
            key = hmac.digest(key, step.encode(), "sha256")
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


_NAMES: Final = ", ".join(_REQUIRED[:-1]) + f" and {_REQUIRED[-1]} query parameters"


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a query claims about its own signature."""

    access_key: str
    scope: str
    date: datetime
    expires: int
    signed_headers: tuple[str, ...]
    signature: str = field(repr=False)

    @classmethod
    def of(cls, found: Mapping[str, str]) -> _Claim:
        if found["X-Amz-Algorithm"] != ALGORITHM:
            raise S3Error.bad_query(f"X-Amz-Algorithm only supports {ALGORITHM}")
        access_key, _, scope = found["X-Amz-Credential"].partition("/")
        headers = tuple(found["X-Amz-SignedHeaders"].split(";"))
        if "host" not in headers:
            raise S3Error.bad_query("X-Amz-SignedHeaders must contain host")
        return cls(
            access_key=access_key,
            scope=scope,
            date=_parse_date(found["X-Amz-Date"]),
            expires=_parse_expires(found["X-Amz-Expires"]),
            signed_headers=headers,
            signature=found["X-Amz-Signature"],
        )

    def check_time(self, now: datetime) -> None:
        if self.date - now > CLOCK_SKEW:
            raise S3Error(403, "AccessDenied", "Request is not valid yet")
        ends = self.date + timedelta(seconds=self.expires)
        if now > ends:
            raise S3Error.expired(self.expires, ends, now)


def parse_query(query: str) -> list[tuple[str, str]]:
    """Names and values, unquoted as S3 does it: ``+`` is a plus."""
    pairs = [part.partition("=") for part in query.split("&") if part]
    return [(_unquote(name), _unquote(value)) for name, _, value in pairs]


def canonical_query(query: Iterable[tuple[str, str]]) -> str:
    """The pairs quoted and sorted."""
    quoted = sorted((_quote(name), _quote(value)) for name, value in query)
    return "&".join(f"{name}={value}" for name, value in quoted)


def canonical_request(
    method: str, path: str, query: Iterable[tuple[str, str]], headers: Mapping[str, str]
) -> str:
    """The request in the form that is signed; ``headers`` are the signed ones."""
    names = sorted(headers)
    return "\n".join(
        (
            method,
            quote(unquote_to_bytes(path), safe="/-_.~"),
            canonical_query(query),
            *(f"{name}:{headers[name]}" for name in names),
            "",
            ";".join(names),
            "UNSIGNED-PAYLOAD",
        )
    )


def string_to_sign(date: datetime, scope: str, canonical: str) -> str:
    """What the signing key is applied to."""
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return "\n".join((ALGORITHM, date.strftime(_DATE_FORMAT), scope, digest))


def _unsigned_headers(headers: Iterable[tuple[str, str]], signed: Iterable[str]) -> list[str]:
    return sorted({name for name, _ in headers if name.startswith("x-amz-")} - set(signed))


def _parse_date(text: str) -> datetime:
    try:
        return datetime.strptime(text, _DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise S3Error.bad_query(
            "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""
        ) from None


def _parse_expires(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise S3Error.bad_query("X-Amz-Expires should be a number")
    if len(text) > len(str(LONGEST_EXPIRY)) or not 0 < int(text) <= LONGEST_EXPIRY:
        raise S3Error.bad_query("X-Amz-Expires must be less than a week (in seconds)")
    return int(text)


def _quote(text: str) -> str:
    return quote(text.encode("utf-8", "surrogateescape"), safe="-_.~")


def _unquote(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")
