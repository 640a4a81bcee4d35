"""Aliyun OSS: presigned URLs of version 1 and 4, and how it answers.

OSS signs the bucket's name and the key, not the path, so it does not matter how they are addressed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from plugin_framework.emulator.dialects.dialect import (
    CLOCK_SKEW,
    LONGEST_EXPIRY,
    Bucket,
    Dialect,
    Query,
    Request,
    hmac_sha1,
    joined,
    number,
    only,
    parse_query,
    quoted,
    same,
    unquoted,
    xml,
)
from plugin_framework.emulator.dialects.refusals import ObjectStoreError
from plugin_framework.emulator.dialects.s3 import stamp
from plugin_framework.emulator.dialects.sigv2 import SUBRESOURCES
from plugin_framework.emulator.dialects.sigv4 import DATE_FORMAT, chained, parse_date

ALGORITHM: Final = "OSS4-HMAC-SHA256"
_V1: Final = ("OSSAccessKeyId", "Expires", "Signature")
_V4: Final = (
    "x-oss-signature-version",
    "x-oss-credential",
    "x-oss-date",
    "x-oss-expires",
    "x-oss-signature",
)
_SUBRESOURCES: Final = SUBRESOURCES | {"x-oss-process", "x-oss-traffic-limit"}


class OSS(Dialect):
    """Upper-case ETags."""

    def etag(self, stored: str) -> str:
        """In capitals."""
        return stored.upper()

    def identity(self, request_id: str) -> dict[str, str]:
        """The request's id."""
        return {"x-oss-request-id": request_id}

    def document(self, error: ObjectStoreError, request: Request, request_id: str) -> bytes:
        """Code and message, request and host, then what they are about."""
        elements = {"Code": error.code, "Message": error.message, "RequestId": request_id}
        host = request.header("host") or self.bucket.host
        return xml({**elements, "HostId": host, **error.details})


@dataclass(frozen=True, slots=True)
class OssV1:
    """Version 1: HMAC-SHA1 over method, headers, time and resource."""

    bucket: Bucket
    access_key: str
    secret: str = field(repr=False)

    def recognises(self, query: Query) -> bool:
        """By the access key's parameter."""
        return any(name == "OSSAccessKeyId" for name, _ in query)

    def sign(
        self, method: str, key: str, params: Mapping[str, str], expires: int, at: float
    ) -> str:
        """The URL with a signed query; its parameters in oss2's order."""
        url, ends = self.bucket.address(key), str(int(at) + expires)
        text = self._text(Request(method, "", "", ()), key, list(params.items()), ends)
        query = {**params, "OSSAccessKeyId": self.access_key, "Expires": ends}
        query["Signature"] = hmac_sha1(self.secret, text)
        return f"{url}?{joined(query.items())}"

    def verify(self, request: Request, now: float) -> None:
        """Check as OSS does: the time first."""
        query = parse_query(request.query)
        found = {name: only(query, name) for name in _V1}
        access_key, ends, signature = found.values()
        if access_key is None or ends is None or signature is None:
            raise ObjectStoreError(403, "AccessDenied", f"{', '.join(_V1)} must be given once.")
        seconds = number(ends)
        if seconds is None:
            message = f"Invalid date (should be seconds since epoch): {ends}"
            raise ObjectStoreError(403, "AccessDenied", message, {"EC": "0002-00000070"})
        _check_end(seconds, now)
        _check_key(access_key, self.access_key)
        text = self._text(request, _key(self.bucket, request), query, ends)
        _check_signature(self.access_key, text, hmac_sha1(self.secret, text), signature)

    def _text(self, request: Request, key: str, query: Query, ends: str) -> str:
        pairs = sorted((name, value) for name, value in query if name in _SUBRESOURCES)
        subresources = "&".join(f"{name}={value}" if value else name for name, value in pairs)
        mark = "?" if pairs else ""
        return "\n".join(
            (
                request.method,
                request.header("content-md5") or "",
                request.header("content-type") or "",
                ends,
                *_headers(request, ()),
                f"/{self.bucket.name}/{key}{mark}{subresources}",
            )
        )


@dataclass(frozen=True, slots=True)
class OssV4:
    """Version 4: HMAC-SHA256 by a key of the day, over the whole query and the headers."""

    bucket: Bucket
    access_key: str
    secret: str = field(repr=False)
    region: str = "cn-hangzhou"

    def recognises(self, query: Query) -> bool:
        """Any of its parameters."""
        return any(name in _V4 for name, _ in query)

    def sign(
        self, method: str, key: str, params: Mapping[str, str], expires: int, at: float
    ) -> str:
        """The URL with a signed query; its parameters in oss2's order."""
        date = datetime.fromtimestamp(at, UTC).strftime(DATE_FORMAT)
        scope = self._scope(date)
        query = {
            **params,
            "x-oss-date": date,
            "x-oss-expires": str(expires),
            "x-oss-signature-version": ALGORITHM,
            "x-oss-credential": f"{self.access_key}/{scope}",
        }
        canonical = self._canonical(Request(method, "", "", ()), key, list(query.items()), ())
        query["x-oss-signature"] = self._signature(scope, _to_sign(date, scope, canonical))
        return f"{self.bucket.address(key)}?{joined(query.items())}"

    def verify(self, request: Request, now: float) -> None:
        """Check the form, the time, the key, the signature."""
        query = parse_query(request.query)
        found = {name: only(query, name) for name in _V4}
        version, credential, date, expires, signature = found.values()
        if version != ALGORITHM or credential is None or signature is None:
            raise _unreadable("Invalid signing version, credential or signature.")
        access_key, _, scope = credential.partition("/")
        _check_period(date or "", expires or "", now)
        _check_key(access_key, self.access_key)
        if date is None or scope != self._scope(date):
            raise _unreadable("Invalid credential scope in x-oss-credential.")
        additional = (only(query, "x-oss-additional-headers") or "").split(";")
        signed = [pair for pair in query if pair[0] != "x-oss-signature"]
        key = _key(self.bucket, request)
        canonical = self._canonical(request, key, signed, sorted(filter(None, additional)))
        text = _to_sign(date, scope, canonical)
        _check_signature(self.access_key, text, self._signature(scope, text), signature)

    def _canonical(
        self, request: Request, key: str, query: Query, additional: Iterable[str]
    ) -> str:
        pairs = sorted((quoted(name), quoted(value)) for name, value in query)
        names = list(additional)
        return "\n".join(
            (
                request.method,
                quoted(f"/{self.bucket.name}/{key}", safe="/"),
                "&".join(f"{name}={value}" if value else name for name, value in pairs),
                *_headers(request, ("content-md5", "content-type", *names)),
                "",
                ";".join(names),
                "UNSIGNED-PAYLOAD",
            )
        )

    def _scope(self, date: str) -> str:
        return f"{date[:8]}/{self.region}/oss/aliyun_v4_request"

    def _signature(self, scope: str, text: str) -> str:
        return chained(f"aliyun_v4{self.secret}", scope, text)


def _to_sign(date: str, scope: str, canonical: str) -> str:
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape"))
    return f"{ALGORITHM}\n{date}\n{scope}\n{digest.hexdigest()}"


def _headers(request: Request, further: Iterable[str]) -> list[str]:
    """The lines of all ``x-oss-`` headers and of those of ``further`` that are there."""
    names = {name for name, _ in request.headers if name.startswith("x-oss-") or name in further}
    return [f"{name}:{request.header(name)}" for name in sorted(names)]


def _key(bucket: Bucket, request: Request) -> str:
    return unquoted(bucket.raw_key(request.path) or "")


def _check_period(date: str, expires: str, now: float) -> None:
    begins, seconds = parse_date(date), number(expires)
    if begins is None or seconds is None or not 0 < seconds <= LONGEST_EXPIRY:
        raise _unreadable("Invalid x-oss-date or x-oss-expires.", {"EC": "0002-00000070"})
    if begins.timestamp() - now > CLOCK_SKEW:
        message = "Request is not valid yet."
        raise ObjectStoreError(403, "AccessDenied", message, {"EC": "0002-00000235"})
    _check_end(begins.timestamp() + seconds, now)


def _check_end(ends: float, now: float) -> None:
    if now > ends:
        times = {"Expires": stamp(ends), "ServerTime": stamp(now)}
        details = {**times, "EC": "0002-00000069"}
        raise ObjectStoreError(403, "AccessDenied", "Request has expired.", details)


def _check_key(provided: str, ours: str) -> None:
    if provided != ours:
        raise ObjectStoreError(
            403,
            "InvalidAccessKeyId",
            "The OSS Access Key Id you provided does not exist in our records.",
            {"OSSAccessKeyId": provided},
        )


def _check_signature(access_key: str, text: str, expected: str, provided: str) -> None:
    if not same(expected, provided):
        raise ObjectStoreError(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided."
            " Check your key and signing method.",
            {"OSSAccessKeyId": access_key, "SignatureProvided": provided, "StringToSign": text},
        )


def _unreadable(message: str, details: dict[str, str] | None = None) -> ObjectStoreError:
    return ObjectStoreError(400, "InvalidArgument", message, details)
