"""Amazon S3: how it answers, and what its two schemes refuse alike."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime

from plugin_framework.emulator.dialects.dialect import Dialect, Request, xml
from plugin_framework.emulator.dialects.refusals import ObjectStoreError


class S3(Dialect):
    """Lower-case MD5s for ETags, and ``-N`` for objects of parts."""

    def etag(self, stored: str) -> str:
        """As it is stored."""
        return stored

    def identity(self, request_id: str) -> dict[str, str]:
        """The request's id and the host's."""
        return {"x-amz-request-id": request_id[:16], "x-amz-id-2": _host_id(request_id)}

    def document(
        self,
        error: ObjectStoreError,
        request: Request,  # noqa: ARG002 - S3 says nothing of it
        request_id: str,
    ) -> bytes:
        """Code and message, what they are about, and both ids."""
        elements = {"Code": error.code, "Message": error.message, **error.details}
        return xml({**elements, "RequestId": request_id[:16], "HostId": _host_id(request_id)})


def unknown_key(access_key: str) -> ObjectStoreError:
    """A signature by an access key that is not ours."""
    return ObjectStoreError(
        403,
        "InvalidAccessKeyId",
        "The AWS Access Key Id you provided does not exist in our records.",
        {"AWSAccessKeyId": access_key},
    )


def expired(ended: float, now: float, details: dict[str, str] | None = None) -> ObjectStoreError:
    """A URL whose time is over."""
    found = {**(details or {}), "Expires": stamp(ended), "ServerTime": stamp(now)}
    return ObjectStoreError(403, "AccessDenied", "Request has expired", found)


def wrong_signature(
    access_key: str, text: str, provided: str, canonical: str | None = None
) -> ObjectStoreError:
    """A wrong signature; S3 shows what it signed itself, and so do we."""
    details = {"AWSAccessKeyId": access_key, "StringToSign": text, "SignatureProvided": provided}
    if canonical is not None:
        details["CanonicalRequest"] = canonical
    return ObjectStoreError(
        403,
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided."
        " Check your key and signing method.",
        details,
    )


def stamp(seconds: float) -> str:
    """A Unix time as error documents write it."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _host_id(request_id: str) -> str:
    return base64.b64encode(hashlib.sha256(request_id.encode()).digest()).decode()
