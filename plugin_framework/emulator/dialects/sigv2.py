"""Presigned URLs of S3 as they were before version 4: AWS Signature Version 2 in the query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from plugin_framework.emulator.dialects.dialect import (
    Bucket,
    Query,
    Request,
    hmac_sha1,
    joined,
    number,
    only,
    parse_query,
    same,
)
from plugin_framework.emulator.dialects.refusals import ObjectStoreError
from plugin_framework.emulator.dialects.s3 import expired, unknown_key, wrong_signature

_REQUIRED: Final = ("AWSAccessKeyId", "Expires", "Signature")
SUBRESOURCES: Final = frozenset(
    {
        "partNumber",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
        "uploadId",
        "uploads",
        "versionId",
    }
)


@dataclass(frozen=True, slots=True)
class SigV2:
    """Signs and checks with one access key.

    A query parameter that is no sub-resource is not signed: S3 lets such be added to a URL.
    """

    bucket: Bucket
    access_key: str
    secret: str = field(repr=False)

    def recognises(self, query: Query) -> bool:
        """By the access key's parameter, or both others."""
        names = {name for name, _ in query}
        return "AWSAccessKeyId" in names or {"Expires", "Signature"} <= names

    def sign(
        self, method: str, key: str, params: Mapping[str, str], expires: int, at: float
    ) -> str:
        """The URL with a signed query."""
        url, ends = self.bucket.address(key), str(int(at) + expires)
        path = urlsplit(url).path
        text = self._text(Request(method, path, "", ()), list(params.items()), ends)
        query = {**params, "AWSAccessKeyId": self.access_key}
        query |= {"Signature": hmac_sha1(self.secret, text), "Expires": ends}
        return f"{url}?{joined(query.items())}"

    def verify(self, request: Request, now: float) -> None:
        """Check as S3 does: the time first."""
        query = parse_query(request.query)
        found = {name: only(query, name) for name in _REQUIRED}
        access_key, ends, signature = found.values()
        if access_key is None or ends is None or signature is None:
            raise ObjectStoreError(
                403,
                "AccessDenied",
                "Query-string authentication requires the Signature, Expires and AWSAccessKeyId"
                " parameters",
            )
        if access_key != self.access_key:
            raise unknown_key(access_key)
        _check_time(ends, now)
        text = self._text(request, query, ends)
        if not same(hmac_sha1(self.secret, text), signature):
            raise wrong_signature(self.access_key, text, signature)

    def _text(self, request: Request, query: Query, ends: str) -> str:
        names = sorted({name for name, _ in request.headers if name.startswith("x-amz-")})
        return "\n".join(
            (
                request.method,
                request.header("content-md5") or "",
                request.header("content-type") or "",
                ends,
                *(f"{name}:{request.header(name)}" for name in names),
                self._resource(request.path, query),
            )
        )

    def _resource(self, path: str, query: Query) -> str:
        """The path as it came, and the sub-resources decoded: so it was in version 2."""
        key = self.bucket.raw_key(path)
        resource = path if key is None else f"/{self.bucket.name}/{key}"
        pairs = [
            f"{name}={value}" if value else name
            for name, value in sorted(query)
            if name in SUBRESOURCES
        ]
        return f"{resource}?{'&'.join(pairs)}" if pairs else resource


def _check_time(ends: str, now: float) -> None:
    seconds = number(ends)
    if seconds is None:
        message = f"Invalid date (should be seconds since epoch): {ends}"
        raise ObjectStoreError(403, "AccessDenied", message)
    if now > seconds:
        raise expired(seconds, now)
