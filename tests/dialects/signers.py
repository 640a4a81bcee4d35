"""Presigned URLs from the SDKs themselves; hand-made where a store's SDK is too large to bring."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote, urlencode

import boto3  # type: ignore[import-untyped]  # it has no types
import minio
import oss2  # type: ignore[import-untyped]  # it has no types
import qcloud_cos  # type: ignore[import-untyped]  # it has no types
from botocore.config import Config  # type: ignore[import-untyped]  # it has no types

Signer = Callable[[str, str, Mapping[str, str]], str]
"""Makes a URL for a method, a key and query parameters."""

PART: Final = {"partNumber": "7", "uploadId": "VXBsb2Fk+SWQ/fo=r~7"}
UNUSED: Final = 9
"""A port that nothing is asked at: presigning needs no network."""


@dataclass(frozen=True)
class Account:
    """Where the store is, and who signs; ``expires`` in seconds."""

    endpoint: str = f"http://127.0.0.1:{UNUSED}"
    bucket: str = "datahub"
    access_key: str = "AKIDEXAMPLE"
    secret: str = field(default="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", repr=False)
    expires: int = 3600

    @property
    def scheme(self) -> str:
        return self.endpoint.partition("://")[0]

    @property
    def netloc(self) -> str:
        return self.endpoint.partition("://")[2]


def s3_client(account: Account, version: str = "s3v4", style: str = "path") -> Any:
    """A boto3 client that does not try again, and asks no proxy."""
    return boto3.client(
        "s3",
        endpoint_url=account.endpoint,
        aws_access_key_id=account.access_key,
        aws_secret_access_key=account.secret,
        region_name="us-east-1",
        config=Config(
            signature_version=version,
            s3={"addressing_style": style},
            retries={"max_attempts": 0},
            proxies={},
        ),
    )


def with_boto3(account: Account, version: str = "s3v4", style: str = "path") -> Signer:
    client = s3_client(account, version, style)

    def sign(method: str, key: str, params: Mapping[str, str]) -> str:
        arguments: dict[str, Any] = {"Bucket": account.bucket, "Key": key}
        operation = {"GET": "get_object", "PUT": "put_object"}[method]
        if params:
            operation = "upload_part"
            arguments |= {"PartNumber": int(params["partNumber"]), "UploadId": params["uploadId"]}
        url: str = client.generate_presigned_url(operation, arguments, account.expires)
        return url

    return sign


def oss_bucket(account: Account, version: int = 4) -> Any:
    """A bucket of oss2."""
    maker = oss2.AuthV4 if version == 4 else oss2.Auth
    return oss2.Bucket(
        maker(account.access_key, account.secret),
        account.endpoint,
        account.bucket,
        region="cn-hangzhou",
    )


def with_oss2(account: Account, version: int = 4, *, slash_safe: bool = True) -> Signer:
    bucket = oss_bucket(account, version)

    def sign(method: str, key: str, params: Mapping[str, str]) -> str:
        url: str = bucket.sign_url(
            method, key, account.expires, params=dict(params), slash_safe=slash_safe
        )
        return url

    return sign


def cos_client(account: Account, domain: str | None = None) -> Any:
    """Tencent's client; ``domain`` stands for the bucket's own host name."""
    config = qcloud_cos.CosConfig(
        Region="ap-guangzhou",
        SecretId=account.access_key,
        SecretKey=account.secret,
        Scheme=account.scheme,
        Domain=domain,
    )
    return qcloud_cos.CosS3Client(config)


def with_cos(account: Account, *, domain: str | None = None, sign_host: bool = True) -> Signer:
    client = cos_client(account, domain)

    def sign(method: str, key: str, params: Mapping[str, str]) -> str:
        url: str = client.get_presigned_url(
            Bucket=f"{account.bucket}-1250000000",
            Key=key,
            Method=method,
            Expired=account.expires,
            Params=dict(params),
            SignHost=sign_host,
        )
        return url

    return sign


def with_minio(account: Account) -> Signer:
    client = minio.Minio(
        account.netloc,
        access_key=account.access_key,
        secret_key=account.secret,
        region="us-east-1",
        secure=account.scheme == "https",
    )
    expires = timedelta(seconds=account.expires)

    def sign(method: str, key: str, params: Mapping[str, str]) -> str:
        return client.get_presigned_url(
            method, account.bucket, key, expires=expires, extra_query_params=dict(params)
        )

    return sign


def like_gcs_v4(account: Account) -> Signer:
    """Google's own version 4, by an HMAC key."""

    def sign(method: str, key: str, params: Mapping[str, str]) -> str:
        date = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        scope = f"{date[:8]}/auto/storage/goog4_request"
        query = {
            **params,
            "X-Goog-Algorithm": "GOOG4-HMAC-SHA256",
            "X-Goog-Credential": f"{account.access_key}/{scope}",
            "X-Goog-Date": date,
            "X-Goog-Expires": str(account.expires),
            "X-Goog-SignedHeaders": "host",
        }
        path = f"/{account.bucket}/{quote(key, safe='/~')}"
        text = urlencode(sorted(query.items()), quote_via=quote, safe="~")
        canonical = f"{method}\n{path}\n{text}\nhost:{account.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
        signature = hmac.digest(account.secret.encode(), canonical.encode(), "sha256").hex()
        return f"{account.endpoint}{path}?{text}&X-Goog-Signature={signature}"

    return sign


def like_gcs_v2(account: Account) -> Signer:
    """Google's version 2: a base64 signature, its pluses and slashes quoted."""

    def sign(method: str, key: str, params: Mapping[str, str]) -> str:
        path = f"/{account.bucket}/{quote(key, safe='/~')}"
        ends = int(time.time()) + account.expires
        digest = hmac.digest(
            account.secret.encode(), f"{method}\n\n\n{ends}\n{path}".encode(), "sha1"
        )
        query = {**params, "GoogleAccessId": "robot@example.com", "Expires": str(ends)}
        query["Signature"] = base64.b64encode(digest).decode()
        return f"{account.endpoint}{path}?{urlencode(query)}"

    return sign


def like_azure(account: Account) -> Signer:
    """A shared access signature, with colons that are left as they are."""

    def sign(method: str, key: str, params: Mapping[str, str]) -> str:
        path = f"/{account.bucket}/{quote(key, safe='/~()!*')}"
        ends = datetime.now(UTC) + timedelta(seconds=account.expires)
        query = {"sv": "2023-11-03", "sr": "b", "sp": "rcw", "se": f"{ends:%Y-%m-%dT%H:%M:%SZ}"}
        if params:
            block = base64.b64encode(params["partNumber"].encode()).decode()
            query |= {"comp": "block", "blockid": block}
        digest = hmac.digest(account.secret.encode(), f"{method}{path}".encode(), hashlib.sha256)
        query["sig"] = base64.b64encode(digest).decode()
        return f"{account.endpoint}{path}?{urlencode(query, safe=':')}"

    return sign


def all_signers(account: Account) -> dict[str, Signer]:
    """Every signer in each of its manners of addressing."""
    aws = Account(endpoint="https://s3.us-east-1.amazonaws.com")
    aliyun = Account(endpoint="https://oss-cn-hangzhou.aliyuncs.com")
    return {
        "boto3 V4": with_boto3(account),
        "boto3 V4, bucket in the host": with_boto3(aws, style="virtual"),
        "boto3 V2": with_boto3(account, "s3"),
        "boto3 V2, bucket in the host": with_boto3(aws, "s3", "virtual"),
        "oss2 V4": with_oss2(account),
        "oss2 V4, slashes quoted": with_oss2(aliyun, slash_safe=False),
        "oss2 V1": with_oss2(account, 1),
        "oss2 V1, slashes quoted": with_oss2(aliyun, 1, slash_safe=False),
        "cos": with_cos(account),
        "cos, host not signed": with_cos(account, domain="files.example", sign_host=False),
        "minio": with_minio(account),
        "minio on AWS": with_minio(aws),
        "like GCS V4": like_gcs_v4(account),
        "like GCS V2": like_gcs_v2(account),
        "like Azure": like_azure(account),
    }


@dataclass(frozen=True)
class Signed:
    """A URL, and what it is for."""

    signer: str
    method: str
    key: str
    url: str = field(repr=False)


def signed_urls(signers: Mapping[str, Signer], keys: tuple[str, ...]) -> Iterator[Signed]:
    """A PUT, a part's PUT and a GET for each key and signer, but where an SDK refuses the key."""
    for name, sign in signers.items():
        for key in keys:
            for method, params in (("PUT", {}), ("PUT", PART), ("GET", {})):
                try:
                    yield Signed(name, method, key, sign(method, key, params))
                except (ValueError, oss2.exceptions.ClientError, qcloud_cos.CosClientError):
                    break
