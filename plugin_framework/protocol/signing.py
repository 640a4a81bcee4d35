"""How both sides sign (PROTOCOL.md, 2.1)."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping

VALIDITY_SECONDS = 300
"""A timestamp may be off by this much either way."""

_DECIMAL = re.compile(r"[0-9]{1,12}", re.ASCII)


def canonical_query(query: Mapping[str, str]) -> str:
    """The query parameters as signed: sorted JSON without white space, or nothing."""
    return json.dumps(query, sort_keys=True, separators=(",", ":")) if query else ""


def sign(secret: str, query: Mapping[str, str], body: bytes, timestamp: str) -> str:
    """The lowercase hex HMAC-SHA256 of ``query_json + body + timestamp``."""
    message = canonical_query(query).encode() + body + timestamp.encode()
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
