"""Tencent COS: presigned URLs, and how it answers.

Addresses are those of a bucket that has a host name of its own: what is signed is the key alone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from plugin_framework.emulator.dialects.dialect import (
    Bucket,
    Dialect,
    Query,
    Request,
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

LEAD: Final = 60
"""Seconds by which a signature's time begins before it is made, as in Tencent's own SDK."""

_REQUIRED: Final = (
    "q-sign-algorithm",
    "q-ak",
    "q-sign-time",
    "q-key-time",
    "q-header-list",
    "q-url-param-list",
    "q-signature",
)


class COS(Dialect):
    """ETags that are no MD5, as for buckets that are encrypted with a managed key."""

    def etag(self, stored: str) -> str:
        """Another digest, as long as an MD5; the number of parts stays."""
        digest, dash, parts = stored.strip('"').partition("-")
        hidden = hashlib.blake2b(digest.encode(), digest_size=16).hexdigest()
        return f'"{hidden}{dash}{parts}"'

    def identity(self, request_id: str) -> dict[str, str]:
        """The ids of request and trace."""
        return {
            "x-cos-request-id": _ticket(request_id),
            "x-cos-trace-id": _ticket(request_id[::-1]),
        }

    def document(self, error: ObjectStoreError, request: Request, request_id: str) -> bytes:
        """Code and message, what they are about, resource, and both ids."""
        host = request.header("host") or self.bucket.host
        ids = self.identity(request_id)
        return xml(
            {
                "Code": error.code,
                "Message": error.message,
                **error.details,
                "Resource": f"{host}{unquoted(request.path)}",
                "RequestId": ids["x-cos-request-id"],
                "TraceId": ids["x-cos-trace-id"],
            }
        )


@dataclass(frozen=True, slots=True)
class CosV5:
    """Signs and checks with one access key: HMAC-SHA1, over those parameters that it lists."""

    bucket: Bucket
    access_key: str
    secret: str = field(repr=False)

    def recognises(self, query: Query) -> bool:
        """Any of its parameters."""
        return any(name in _REQUIRED for name, _ in query)

    def sign(
        self, method: str, key: str, params: Mapping[str, str], expires: int, at: float
    ) -> str:
        """The URL with a signed query; its parameters in the SDK's order."""
        period = f"{int(at) - LEAD};{int(at) + expires}"
        headers = {"host": _hostname(self.bucket.host)}
        form = _form(method, key, _listed(params.items()), headers)
        query = {
            "q-sign-algorithm": "sha1",
            "q-ak": self.access_key,
            "q-sign-time": period,
            "q-key-time": period,
            "q-header-list": "host",
            "q-url-param-list": ";".join(sorted(_listed(params.items()))),
            "q-signature": self._signature(period, period, form),
            **params,
        }
        return f"{self.bucket.address(key)}?{joined(query.items())}"

    def verify(self, request: Request, now: float) -> None:
        """Check the form, the key, the time, the signature."""
        query = parse_query(request.query)
        found = {name: only(query, name) for name in _REQUIRED}
        given = {name: value for name, value in found.items() if value is not None}
        if len(given) != len(found) or given["q-sign-algorithm"] != "sha1":
            raise ObjectStoreError(403, "AccessDenied", "The signature is incomplete.")
        if given["q-ak"] != self.access_key:
            message = "The Access Key Id you provided does not exist in our records."
            raise ObjectStoreError(403, "InvalidAccessKeyId", message)
        _check_period(given["q-sign-time"], now)
        _check_period(given["q-key-time"], now)
        key = unquoted(self.bucket.raw_key(request.path) or "")
        names = _names(given["q-url-param-list"])
        params = {name: value for name, value in _listed(query).items() if name in names}
        headers = {name: _header(request, name) for name in _names(given["q-header-list"])}
        form = _form(request.method, key, params, headers)
        expected = self._signature(given["q-key-time"], given["q-sign-time"], form)
        if not same(expected, given["q-signature"]) or names != set(params):
            raise ObjectStoreError(
                403,
                "SignatureDoesNotMatch",
                "The Signature you specified is invalid.",
                {"StringToSign": _to_sign(given["q-sign-time"], form), "FormatString": form},
            )

    def _signature(self, key_time: str, sign_time: str, form: str) -> str:
        key = hmac.new(self.secret.encode(), key_time.encode(), "sha1").hexdigest()
        return hmac.new(key.encode(), _to_sign(sign_time, form).encode(), "sha1").hexdigest()


def _form(method: str, key: str, params: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """The request in the form that is signed."""
    lists = (params, {name: quoted(value) for name, value in headers.items()})
    pairs = ("&".join(f"{name}={each[name]}" for name in sorted(each)) for each in lists)
    return "\n".join((method.lower(), f"/{key}", *pairs, ""))


def _to_sign(period: str, form: str) -> str:
    digest = hashlib.sha1(form.encode("utf-8", "surrogateescape"), usedforsecurity=False)
    return f"sha1\n{period}\n{digest.hexdigest()}\n"


def _listed(query: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Parameters as they are listed and signed: quoted, their names in lower case."""
    return {quoted(name).lower(): quoted(value) for name, value in query}


def _names(text: str) -> set[str]:
    return {name for name in text.split(";") if name}


def _header(request: Request, name: str) -> str:
    value = request.header(name) or ""
    return _hostname(value) if name == "host" else value


def _hostname(netloc: str) -> str:
    """The host without its port, which the SDK leaves out of what it signs."""
    return netloc.partition(":")[0]


def _check_period(text: str, now: float) -> None:
    first, _, last = text.partition(";")
    begins, ends = number(first), number(last)
    if begins is None or ends is None or begins >= ends:
        raise ObjectStoreError(403, "AccessDenied", "The signature's time is invalid.")
    if now > ends:
        raise ObjectStoreError(403, "AccessDenied", "Request has expired")
    if now < begins:
        raise ObjectStoreError(403, "RequestTimeTooSkewed", "Request is not valid yet")


def _ticket(request_id: str) -> str:
    return base64.b64encode(request_id.encode()).decode()
