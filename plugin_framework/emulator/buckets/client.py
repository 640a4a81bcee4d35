"""boto3's client of a real store, and whether that store is of any use."""

from __future__ import annotations

import ipaddress
import logging
import secrets
from typing import Any, Final
from urllib.parse import urlsplit

from plugin_framework.emulator.buckets.address import BucketAddress
from plugin_framework.errors import Code, ConfigurationError

MISSING: Final = (
    "--storage needs boto3, which is not installed: pip install 'datahub-plugin-framework[s3]'"
)
REGION: Final = "us-east-1"
"""Where nobody says another: what stores of one region expect."""

_LOGGERS: Final = ("boto3", "botocore", "s3transfer", "urllib3")
_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 60
_ATTEMPTS: Final = 3
_CONNECTIONS: Final = 32
_TRIAL: Final = b"Whether uploads are taken here."
_NO_BUCKET: Final = frozenset({"NoSuchBucket", "404"})


def connect(address: BucketAddress) -> Any:
    """A client with the credentials that boto3 finds by itself. Nothing is sent yet.

    Raises:
        ConfigurationError: boto3 is not installed, or cannot be configured.
    """
    try:
        # An extra, which takes a quarter of a second to load, and has no types.
        from boto3.session import Session  # type: ignore[import-untyped]  # noqa: PLC0415 - see above
        from botocore.config import Config  # type: ignore[import-untyped]  # noqa: PLC0415 - see above
        from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]  # noqa: PLC0415 - see above
    except ImportError:
        raise ConfigurationError(MISSING, code=Code.BUCKET_UNUSABLE) from None
    for name in _LOGGERS:
        # At lower levels they write whole requests, signatures and all.
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        session = Session()
        return session.client(
            "s3",
            endpoint_url=address.endpoint,
            region_name=session.region_name or REGION,
            config=Config(**_options(address)),
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(
            f"--storage {address}: {error}", code=Code.BUCKET_UNUSABLE
        ) from None


def _options(address: BucketAddress) -> dict[str, Any]:
    options: dict[str, Any] = {
        "signature_version": address.version,
        "connect_timeout": _CONNECT_SECONDS,
        "read_timeout": _READ_SECONDS,
        "max_pool_connections": _CONNECTIONS,
        "retries": {"mode": "standard", "max_attempts": _ATTEMPTS},
        # Else presigned URLs ask for checksums, which no plugin sends and not every store knows.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    if address.endpoint is not None:
        # Few stores have a host name for each bucket.
        options["s3"] = {"addressing_style": "path"}
    if _is_loopback(address.endpoint):
        options["proxies"] = {}
    return options


def check_bucket(address: BucketAddress) -> None:
    """See that the bucket is there, and takes uploads of both kinds.

    Raises:
        ConfigurationError: it is not, or does not.
    """
    client = connect(address)
    from plugin_framework.emulator.buckets.failures import (  # noqa: PLC0415 - needs boto3
        StoreRefused,
        refusing,
    )

    # A key that nobody has: what is stored there is removed again.
    key = f"{address.prefix}.datahub-{secrets.token_hex(16)}"
    place = {"Bucket": address.bucket, "Key": key}
    try:
        with refusing():
            client.list_objects_v2(Bucket=address.bucket, Prefix=address.prefix, MaxKeys=1)
            begun = client.create_multipart_upload(**place)
            client.abort_multipart_upload(**place, UploadId=begun["UploadId"])
            client.put_object(**place, Body=_TRIAL)
            client.delete_object(**place)
    except StoreRefused as error:
        missing = error.store_code in _NO_BUCKET
        reason = "there is no such bucket" if missing else error.message
        raise ConfigurationError(
            f"--storage {address}: {reason}", code=Code.BUCKET_UNUSABLE
        ) from None
    finally:
        client.close()


def _is_loopback(endpoint: str | None) -> bool:
    """Whether no proxy is to be asked, whatever the environment says."""
    host = urlsplit(endpoint or "").hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
