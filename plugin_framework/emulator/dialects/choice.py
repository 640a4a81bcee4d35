"""Which dialects there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from plugin_framework.emulator.dialects.cos import COS, CosV5
from plugin_framework.emulator.dialects.dialect import Bucket, Dialect
from plugin_framework.emulator.dialects.oss import OSS, OssV1, OssV4
from plugin_framework.emulator.dialects.s3 import S3
from plugin_framework.emulator.dialects.sigv2 import SigV2
from plugin_framework.emulator.dialects.sigv4 import SigV4

DIALECTS: Final[Mapping[str, tuple[type[Dialect], Sequence[type[Any]]]]] = {
    "s3": (S3, (SigV4, SigV2)),
    "s3-v2": (S3, (SigV2, SigV4)),
    "oss": (OSS, (OssV4, OssV1)),
    "oss-v1": (OSS, (OssV1, OssV4)),
    "cos": (COS, (CosV5,)),
}
"""By name: how it answers, and the schemes it accepts, the one it signs with first."""


def check_name(name: str) -> None:
    """See that there is a dialect of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in DIALECTS:
        raise ValueError(f"no dialect is called {name!r}; there are {', '.join(DIALECTS)}")


def dialect_named(name: str, bucket: Bucket, access_key: str, secret: str) -> Dialect:
    """The dialect of that name, with one access key.

    Raises:
        ValueError: there is none.
    """
    check_name(name)
    answers, schemes = DIALECTS[name]
    return answers(bucket, [scheme(bucket, access_key, secret) for scheme in schemes])
