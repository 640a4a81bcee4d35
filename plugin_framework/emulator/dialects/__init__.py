"""Object storage's dialects: how URLs are signed and refused, and what answers look like."""

from __future__ import annotations

from plugin_framework.emulator.dialects.choice import DIALECTS, check_name, dialect_named
from plugin_framework.emulator.dialects.dialect import Bucket, Dialect, Request, Scheme, parse_query
from plugin_framework.emulator.dialects.refusals import ObjectStoreError

__all__ = [
    "DIALECTS",
    "Bucket",
    "Dialect",
    "ObjectStoreError",
    "Request",
    "Scheme",
    "check_name",
    "dialect_named",
    "parse_query",
]
