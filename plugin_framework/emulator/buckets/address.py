"""Which bucket, and where: what ``--storage`` and ``--endpoint`` say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

from plugin_framework.errors import Code, ConfigurationError

_STORAGE: Final = re.compile(r"s3://([A-Za-z0-9][A-Za-z0-9._-]*)(?:/([!-~]*))?", re.ASCII)
_LENGTHS: Final = range(3, 64)
"""Of a bucket's name."""
_VERSIONS: Final = {"s3": "s3v4", "s3-v2": "s3"}
"""What boto3 calls the two versions of S3's signature."""


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """A bucket; keys in it begin with ``prefix``, which is empty or ends with a slash.

    ``endpoint`` is the store's URL, None for Amazon's own. ``version`` is the signature's.
    """

    bucket: str
    prefix: str
    endpoint: str | None
    version: str

    @classmethod
    def of(cls, storage: str, endpoint: str | None, dialect: str = "s3") -> Self:
        """Read the options.

        Raises:
            ConfigurationError: they name no bucket.
        """
        match = _STORAGE.fullmatch(storage)
        if match is None:
            raise ConfigurationError(
                f"--storage {storage}: expected s3://BUCKET or s3://BUCKET/PREFIX",
                code=Code.BUCKET_UNUSABLE,
            )
        if len(match[1]) not in _LENGTHS:
            raise ConfigurationError(
                f"--storage {storage}: a bucket's name has"
                f" {_LENGTHS[0]} to {_LENGTHS[-1]} characters",
                code=Code.BUCKET_UNUSABLE,
            )
        if endpoint is not None:
            _check_endpoint(endpoint)
        if dialect not in _VERSIONS:
            raise ConfigurationError(
                f"--dialect {dialect}: a real store is asked by boto3, which speaks"
                f" {' and '.join(_VERSIONS)}",
                code=Code.BUCKET_UNUSABLE,
            )
        prefix = (match[2] or "").strip("/")
        return cls(match[1], f"{prefix}/" if prefix else "", endpoint, _VERSIONS[dialect])

    def __str__(self) -> str:
        """For messages."""
        place = f" at {self.endpoint}" if self.endpoint else ""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/") + place


def _check_endpoint(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        good = good and not (parts.username or parts.password or parts.query or parts.fragment)
    except ValueError:
        good = False
    if not good:
        # What stands before an @ is a password.
        shown = re.sub("//[^/]*@", "//...@", endpoint)
        raise ConfigurationError(
            f"--endpoint {shown}: expected http://HOST:PORT or https://HOST",
            code=Code.BUCKET_UNUSABLE,
        )
