"""Presigned URLs of S3: AWS Signature Version 4 in the query, made and checked.

The payload is never signed (``UNSIGNED-PAYLOAD``), and addresses are path-style.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from plugin_framework.emulator.dialects.dialect import (
    CLOCK_SKEW,
    LONGEST_EXPIRY,
    Bucket,
    Query,
    Request,
    joined,
    number,
    only,
    parse_query,
    quoted,
    same,
    unquoted,
)
from plugin_framework.emulator.dialects.refusals import ObjectStoreError
from plugin_framework.emulator.dialects.s3 import expired, unknown_key, wrong_signature

ALGORITHM: Final = "AWS4-HMAC-SHA256"
DATE_FORMAT: Final = "%Y%m%dT%H%M%SZ"
_REQUIRED: Final = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
)
_NAMES: Final = ", ".join(_REQUIRED[:-1]) + f" and {_REQUIRED[-1]} query parameters"


@dataclass(frozen=True, slots=True)
class SigV4:
    """Signs and checks with one access key."""

    bucket: Bucket
    access_key: str
    secret: str = field(repr=False)
    region: str = "us-east-1"

    def recognises(self, query: Query) -> bool:
        """Any of its parameters: a query that lacks some is still one of this scheme."""
        return any(name in _REQUIRED for name, _ in query)

    def sign(
        self, method: str, key: str, params: Mapping[str, str], expires: int, at: float
    ) -> str:
        """The URL with a signed query; its parameters in boto3's order."""
        date = datetime.fromtimestamp(at, UTC)
        query = [
            *params.items(),
            ("X-Amz-Algorithm", ALGORITHM),
            ("X-Amz-Credential", f"{self.access_key}/{self._scope(date)}"),
            ("X-Amz-Date", date.strftime(DATE_FORMAT)),
            ("X-Amz-Expires", str(expires)),
            ("X-Amz-SignedHeaders", "host"),
        ]
        url = self.bucket.address(key)
        canonical = _canonical(method, urlsplit(url).path, query, {"host": self.bucket.host})
        signature = self._signature(date, _text(date, self._scope(date), canonical))
        return f"{url}?{joined(query)}&X-Amz-Signature={signature}"

    def verify(self, request: Request, now: float) -> None:
        """Check in the order S3 does."""
        query = parse_query(request.query)
        claim = self._claim(query)
        claim.check_time(now)
        unsigned = _unsigned(request.headers, claim.signed_headers)
        if unsigned:
            raise ObjectStoreError(
                403,
                "AccessDenied",
                "There were headers present in the request which were not signed",
                {"HeadersNotSigned": ", ".join(unsigned)},
            )
        headers = {name: request.header(name) or "" for name in claim.signed_headers}
        rest = [pair for pair in query if pair[0] != "X-Amz-Signature"]
        canonical = _canonical(request.method, request.path, rest, headers)
        text = _text(claim.date, claim.scope, canonical)
        if not same(self._signature(claim.date, text), claim.signature):
            raise wrong_signature(self.access_key, text, claim.signature, canonical)

    def _claim(self, query: Query) -> _Claim:
        found = {name: only(query, name) for name in _REQUIRED}
        given = {name: value for name, value in found.items() if value is not None}
        if len(given) != len(found):
            raise _unreadable(f"Query-string authentication requires the {_NAMES}")
        claim = _Claim.of(given)
        if claim.access_key != self.access_key:
            raise unknown_key(claim.access_key)
        if claim.scope != self._scope(claim.date):
            raise _unreadable("Error parsing the X-Amz-Credential parameter")
        return claim

    def _scope(self, date: datetime) -> str:
        return f"{date:%Y%m%d}/{self.region}/s3/aws4_request"

    def _signature(self, date: datetime, text: str) -> str:
        return chained(f"AWS4{self.secret}", self._scope(date), text)


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
            raise _unreadable(f"X-Amz-Algorithm only supports {ALGORITHM}")
        access_key, _, scope = found["X-Amz-Credential"].partition("/")
        headers = tuple(found["X-Amz-SignedHeaders"].split(";"))
        if "host" not in headers:
            raise _unreadable("X-Amz-SignedHeaders must contain host")
        return cls(
            access_key=access_key,
            scope=scope,
            date=_parse_date(found["X-Amz-Date"]),
            expires=_parse_expires(found["X-Amz-Expires"]),
            signed_headers=headers,
            signature=found["X-Amz-Signature"],
        )

    def check_time(self, now: float) -> None:
        begins = self.date.timestamp()
        if begins - now > CLOCK_SKEW:
            raise ObjectStoreError(403, "AccessDenied", "Request is not valid yet")
        if now > begins + self.expires:
            raise expired(begins + self.expires, now, {"X-Amz-Expires": str(self.expires)})


def chained(secret: str, scope: str, text: str) -> str:
    """The hexadecimal signature of ``text`` by a key derived step by step of ``scope``."""
    key = secret.encode()
    for step in scope.split("/"):
        key = hmac.digest(key, step.encode(), "sha256")
    return hmac.new(key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def parse_date(text: str) -> datetime | None:
    """A date as version 4 writes it, in S3's dialect and others."""
    try:
        return datetime.strptime(text, DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None


def _canonical(
    method: str, path: str, query: Iterable[tuple[str, str]], headers: Mapping[str, str]
) -> str:
    """The request in the form that is signed; ``headers`` are the signed ones."""
    names = sorted(headers)
    pairs = sorted((quoted(name), quoted(value)) for name, value in query)
    return "\n".join(
        (
            method,
            quoted(unquoted(path), safe="/"),
            "&".join(f"{name}={value}" for name, value in pairs),
            *(f"{name}:{headers[name]}" for name in names),
            "",
            ";".join(names),
            "UNSIGNED-PAYLOAD",
        )
    )


def _text(date: datetime, scope: str, canonical: str) -> str:
    """What the signing key is applied to."""
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
    return "\n".join((ALGORITHM, date.strftime(DATE_FORMAT), scope, digest))


def _unsigned(headers: Iterable[tuple[str, str]], signed: Iterable[str]) -> list[str]:
    return sorted({name for name, _ in headers if name.startswith("x-amz-")} - set(signed))


def _parse_date(text: str) -> datetime:
    date = parse_date(text)
    if date is None:
        raise _unreadable("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    return date


def _parse_expires(text: str) -> int:
    expires = number(text)
    if expires is None or not 0 < expires <= LONGEST_EXPIRY:
        raise _unreadable("X-Amz-Expires must be a number, and less than a week (in seconds)")
    return expires


def _unreadable(message: str) -> ObjectStoreError:
    return ObjectStoreError(400, "AuthorizationQueryParametersError", message)
