"""The local storage signs as the SDKs do, takes what they signed, and refuses what was altered."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from plugin_framework.emulator.dialects import (
    Bucket,
    Dialect,
    ObjectStoreError,
    Request,
    dialect_named,
    parse_query,
)
from tests.dialects.keys import HOSTILE_KEYS
from tests.dialects.signers import (
    PART,
    Account,
    Signed,
    Signer,
    cos_client,
    oss_bucket,
    s3_client,
    signed_urls,
    with_boto3,
    with_cos,
    with_minio,
    with_oss2,
)

ACCOUNT = Account(endpoint="http://127.0.0.1:9000")
OTHER_SECRET = Account(endpoint=ACCOUNT.endpoint, secret="another")
OTHER_KEY = Account(endpoint=ACCOUNT.endpoint, access_key="STRANGER")
PATH_STYLE = f"{ACCOUNT.endpoint}/{ACCOUNT.bucket}"
COS_DOMAIN = f"127.0.0.1:9000/{ACCOUNT.bucket}"


@dataclass(frozen=True)
class Pair:
    """An SDK's signer, and the dialect that it belongs to; ``time`` reads when a URL was made."""

    dialect: str
    make: Callable[[Account], Signer]
    begins: Callable[[Mapping[str, str]], int]

    def ours(self) -> Dialect:
        return dialect_named(self.dialect, Bucket(PATH_STYLE), ACCOUNT.access_key, ACCOUNT.secret)


def family(pair: Pair) -> str:
    return pair.dialect.partition("-")[0]


def utc(text: str) -> int:
    return int(time.mktime(time.strptime(text, "%Y%m%dT%H%M%SZ")) - time.timezone)


PAIRS = {
    "boto3 V4": Pair("s3", with_boto3, lambda query: utc(query["X-Amz-Date"])),
    "minio": Pair("s3", with_minio, lambda query: utc(query["X-Amz-Date"])),
    "boto3 V2": Pair(
        "s3-v2",
        lambda account: with_boto3(account, "s3"),
        lambda query: int(query["Expires"]) - ACCOUNT.expires,
    ),
    "oss2 V4": Pair("oss", with_oss2, lambda query: utc(query["x-oss-date"])),
    "oss2 V1": Pair(
        "oss-v1",
        lambda account: with_oss2(account, 1),
        lambda query: int(query["Expires"]) - ACCOUNT.expires,
    ),
    "cos": Pair(
        "cos",
        lambda account: with_cos(account, domain=COS_DOMAIN),
        lambda query: int(query["q-sign-time"].partition(";")[0]) + 60,
    ),
}


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest) -> Pair:
    return PAIRS[request.param]


def as_request(method: str, url: str, *headers: tuple[str, str]) -> Request:
    # By hand: urlsplit would remove tabs, were there any, and this is about the bytes.
    netloc, _, target = url.removeprefix("http://").partition("/")
    path, _, query = target.partition("?")
    return Request(method, f"/{path}", query, [("host", netloc), *headers])


def all_of(pair: Pair, account: Account = ACCOUNT) -> list[Signed]:
    return list(signed_urls({pair.dialect: pair.make(account)}, HOSTILE_KEYS))


def refusal(dialect: Dialect, request: Request, now: float | None = None) -> tuple[int, str]:
    with pytest.raises(ObjectStoreError) as caught:
        dialect.verify(request, time.time() if now is None else now)
    return caught.value.status, caught.value.code


def plain(pair: Pair, account: Account = ACCOUNT, **params: str) -> str:
    return pair.make(account)("GET", "folder/plain.txt", params)


def test_what_the_sdk_signs_is_taken(pair: Pair) -> None:
    urls = all_of(pair)
    assert len(urls) > 90
    for signed in urls:
        pair.ours().verify(as_request(signed.method, signed.url), time.time())


def test_our_urls_are_the_sdks(pair: Pair) -> None:
    """At the same second: the same path, and the same parameters."""
    urls = all_of(pair)
    for signed in urls:
        query = parse_query(urlsplit(signed.url).query)
        params = {name: value for name, value in query if name in PART}
        # COS has no keys that begin with a slash: its SDK takes the first one away.
        key = signed.key.removeprefix("/") if pair.dialect == "cos" else signed.key
        at = pair.begins(dict(query))
        ours = pair.ours().sign(signed.method, key, params, ACCOUNT.expires, at)
        assert sorted(parse_query(urlsplit(ours).query)) == sorted(query), signed
        if pair.dialect != "cos":  # which quotes the slashes after dots
            assert urlsplit(ours).path == urlsplit(signed.url).path


def test_another_key_or_secret_is_refused(pair: Pair) -> None:
    wrong_key, wrong_secret = plain(pair, OTHER_KEY), plain(pair, OTHER_SECRET)
    ours = pair.ours()
    assert refusal(ours, as_request("GET", wrong_key)) == (403, "InvalidAccessKeyId")
    assert refusal(ours, as_request("GET", wrong_secret)) == (403, "SignatureDoesNotMatch")


def test_another_method_or_path_is_refused(pair: Pair) -> None:
    url = plain(pair)
    for request in (
        as_request("PUT", url),
        as_request("GET", url.replace("plain", "other")),
        as_request("GET", url.replace("plain.txt", "plain.txt/")),
    ):
        assert refusal(pair.ours(), request) == (403, "SignatureDoesNotMatch")


def test_another_part_is_refused(pair: Pair) -> None:
    url = pair.make(ACCOUNT)("PUT", "key", PART)
    altered = url.replace("partNumber=7", "partNumber=8")
    assert altered != url
    assert refusal(pair.ours(), as_request("PUT", altered)) == (403, "SignatureDoesNotMatch")


def test_each_changed_parameter_is_refused(pair: Pair) -> None:
    url = plain(pair)
    base, _, query = url.partition("?")
    pairs = query.split("&")
    for index, text in enumerate(pairs):
        for changed in ([], [f"{text}0"], [text, text]):
            altered = "&".join([*pairs[:index], *changed, *pairs[index + 1 :]])
            assert refusal(pair.ours(), as_request("GET", f"{base}?{altered}"))[0] in (400, 403)


def test_it_expires(pair: Pair) -> None:
    ours, now = pair.ours(), 1_800_000_000
    request = as_request("GET", ours.sign("GET", "key", {}, 60, now))
    ours.verify(request, now)
    ours.verify(request, now + 60)
    assert refusal(ours, request, now + 61) == (403, "AccessDenied")


def test_the_future_is_refused_where_the_signature_says_when_it_begins() -> None:
    expected = {
        "boto3 V4": "AccessDenied",
        "oss2 V4": "AccessDenied",
        "cos": "RequestTimeTooSkewed",
    }
    for name, code in expected.items():
        ours, now = PAIRS[name].ours(), 1_800_000_000
        url = ours.sign("GET", "key", {}, 60, now + 1000)
        assert refusal(ours, as_request("GET", url), now) == (403, code)


def test_two_ways_to_say_who_one_is_are_refused(pair: Pair) -> None:
    request = as_request("GET", plain(pair), ("authorization", "Bearer x"))
    assert refusal(pair.ours(), request) == (400, "InvalidArgument")


def test_two_signatures_are_refused() -> None:
    for one, other in (("boto3 V4", "boto3 V2"), ("oss2 V4", "oss2 V1")):
        both = f"{plain(PAIRS[one])}&{plain(PAIRS[other]).partition('?')[2]}"
        assert refusal(PAIRS[one].ours(), as_request("GET", both)) == (400, "InvalidArgument")


def test_no_signature_or_another_dialects_is_refused(pair: Pair) -> None:
    url = plain(pair)
    ours = pair.ours()
    assert refusal(ours, as_request("GET", url.partition("?")[0])) == (403, "AccessDenied")
    for other in PAIRS.values():
        if family(other) != family(pair):
            assert refusal(ours, as_request("GET", plain(other))) == (403, "AccessDenied")


@pytest.mark.parametrize(
    ("name", "header", "refused"),
    [
        ("boto3 V4", "x-amz-meta-a", True),
        ("boto3 V4", "content-type", False),
        ("boto3 V2", "x-amz-meta-a", True),
        ("boto3 V2", "content-type", True),
        ("boto3 V2", "content-md5", True),
        ("oss2 V1", "x-oss-meta-a", True),
        ("oss2 V1", "content-type", True),
        ("oss2 V1", "content-md5", True),
        ("oss2 V4", "x-oss-meta-a", True),
        ("oss2 V4", "content-type", True),
        ("oss2 V4", "content-md5", True),
        ("cos", "x-cos-meta-a", False),
        ("cos", "content-type", False),
    ],
)
def test_headers_that_were_not_signed(name: str, header: str, *, refused: bool) -> None:
    pair = PAIRS[name]
    request = as_request("GET", plain(pair), (header, "a value"))
    if refused:
        assert refusal(pair.ours(), request)[0] == 403
    else:
        pair.ours().verify(request, time.time())


def boto3_signed(headers: Mapping[str, str]) -> str:
    metadata = {name.removeprefix("x-amz-meta-"): value for name, value in headers.items()}
    arguments = {"Bucket": ACCOUNT.bucket, "Key": "key", "Metadata": metadata}
    url: str = s3_client(ACCOUNT).generate_presigned_url("put_object", arguments)
    return url


def oss2_signed(headers: Mapping[str, str]) -> str:
    url: str = oss_bucket(ACCOUNT).sign_url(
        "PUT", "key", 600, headers=dict(headers), additional_headers=list(headers)
    )
    return url


def cos_signed(headers: Mapping[str, str]) -> str:
    url: str = cos_client(ACCOUNT, COS_DOMAIN).get_presigned_url(
        Bucket="b-1", Key="key", Method="PUT", Headers=dict(headers)
    )
    return url


@pytest.mark.parametrize(
    ("name", "sign", "headers"),
    [
        ("boto3 V4", boto3_signed, {"x-amz-meta-a": "1 2"}),
        ("oss2 V4", oss2_signed, {"x-oss-meta-a": "1 2", "content-type": "text/a", "origin": "x"}),
        ("cos", cos_signed, {"x-cos-meta-a": "1 2/3", "content-type": "text/a; b=c"}),
    ],
)
def test_headers_that_were_signed_must_come(
    name: str, sign: Callable[[Mapping[str, str]], str], headers: Mapping[str, str]
) -> None:
    ours, url = PAIRS[name].ours(), sign(headers)
    ours.verify(as_request("PUT", url, *headers.items()), time.time())
    for missing in headers:
        for changed in ([], [(missing, "other")]):
            rest = [pair for pair in headers.items() if pair[0] != missing]
            request = as_request("PUT", url, *rest, *changed)
            assert refusal(ours, request) == (403, "SignatureDoesNotMatch")


def test_the_secret_is_not_shown(pair: Pair) -> None:
    assert ACCOUNT.secret not in repr(pair.ours()._schemes)
