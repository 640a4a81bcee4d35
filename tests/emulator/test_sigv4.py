"""The signature of presigned URLs, against AWS's example and a reference of its own."""

from __future__ import annotations

import hashlib
import hmac
import re
from calendar import timegm
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugin_framework.emulator.dialects import Bucket, ObjectStoreError, Request
from plugin_framework.emulator.dialects.sigv4 import SigV4

EXAMPLE_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
EXAMPLE_TIME = timegm((2013, 5, 24, 0, 0, 0))
BUCKET = Bucket("http://h/storage/b")
NOW = 1_700_000_000.0


def reference(secret: str, method: str, url: str) -> str:
    """The signature a presigned URL should have, from AWS's documents, host alone being signed."""
    bare, _, _ = url.partition("&X-Amz-Signature=")
    scheme_and_host, _, query = bare.partition("?")
    host, path = re.fullmatch(r"https?://([^/]*)(.*)", scheme_and_host).groups()  # type: ignore[union-attr]  # a URL
    pairs = sorted(
        f"{quote(name, safe='')}={quote(value, safe='')}"
        for name, value in parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)
    )
    found = dict(parse_qsl(query))
    _, day, region, service, _ = found["X-Amz-Credential"].split("/")
    request = f"{method}\n{path}\n{'&'.join(pairs)}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
    scope = f"{day}/{region}/{service}/aws4_request"
    hashed = hashlib.sha256(request.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{found['X-Amz-Date']}\n{scope}\n{hashed}"

    def keyed(key: bytes, message: str) -> bytes:
        return hmac.new(key, message.encode(), hashlib.sha256).digest()

    by_day = keyed(f"AWS4{secret}".encode(), day)
    by_service = keyed(keyed(by_day, region), service)
    return keyed(keyed(by_service, "aws4_request"), text).hex()


def as_request(method: str, url: str, *headers: tuple[str, str]) -> Request:
    parts = urlsplit(url)
    return Request(method, parts.path, parts.query, [("host", parts.netloc), *headers])


def refusal(signer: SigV4, request: Request, now: float = NOW) -> tuple[int, str, str]:
    with pytest.raises(ObjectStoreError) as caught:
        signer.verify(request, now)
    return caught.value.status, caught.value.code, caught.value.message


def test_awss_published_example() -> None:
    bucket = Bucket("https://examplebucket.s3.amazonaws.com")
    signer = SigV4(bucket, "AKIAIOSFODNN7EXAMPLE", EXAMPLE_SECRET)
    url = signer.sign("GET", "test.txt", {}, 86400, EXAMPLE_TIME)
    expected = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    assert url.endswith(f"&X-Amz-Signature={expected}")
    assert reference(EXAMPLE_SECRET, "GET", url) == expected
    signer.verify(as_request("GET", url), EXAMPLE_TIME + 1)


@settings(deadline=None)
@given(
    method=st.sampled_from(["GET", "PUT"]),
    key=st.text(st.characters(codec="utf-8"), min_size=1),
    upload_id=st.text("abc/+ =&%~-_.é"),
    expires=st.integers(1, 604_800),
)
def test_signs_as_the_reference_does(method: str, key: str, upload_id: str, expires: int) -> None:
    signer = SigV4(Bucket("http://127.0.0.1:8000/storage/b"), "AK", "secret")
    params = {"partNumber": "7", "uploadId": upload_id}
    signed = signer.sign(method, key, params, expires, NOW)
    assert signed.rpartition("=")[2] == reference("secret", method, signed)
    signer.verify(as_request(method, signed), NOW + expires)
    assert refusal(signer, as_request(method, signed), NOW + expires + 1)[2] == (
        "Request has expired"
    )


def test_each_method_has_a_signature_of_its_own() -> None:
    signer = SigV4(BUCKET, "AK", "secret")
    url = signer.sign("GET", "key", {}, 60, NOW)
    for method in ("PUT", "HEAD", "DELETE", "get"):
        assert refusal(signer, as_request(method, url))[:2] == (403, "SignatureDoesNotMatch")


def test_further_signed_headers_are_checked() -> None:
    """A signature over x-amz-meta-a, made by the reference's formula spelt out here."""
    signer = SigV4(BUCKET, "AK", "secret")
    date, scope = "20231114T221320Z", "20231114/us-east-1/s3/aws4_request"
    query = (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AK%2F20231114%2Fus-east-1%2Fs3%2F"
        f"aws4_request&X-Amz-Date={date}&X-Amz-Expires=60&X-Amz-SignedHeaders=host%3Bx-amz-meta-a"
    )
    canonical = f"PUT\n/k\n{query}\nhost:h\nx-amz-meta-a:1 2\n\nhost;x-amz-meta-a\nUNSIGNED-PAYLOAD"
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = b"AWS4secret"
    for message in (*scope.split("/"), text):
        key = hmac.new(key, message.encode(), hashlib.sha256).digest()
    url = f"http://h/k?{query}&X-Amz-Signature={key.hex()}"
    signer.verify(as_request("PUT", url, ("x-amz-meta-a", " 1   2 ")), NOW)
    assert refusal(signer, as_request("PUT", url))[1] == "SignatureDoesNotMatch"
    assert refusal(signer, as_request("PUT", url, ("x-amz-meta-a", "3")))[1] == (
        "SignatureDoesNotMatch"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"),
        ("X-Amz-Date=20231114T221320Z", "X-Amz-Date=yesterday"),
        ("X-Amz-Expires=60", "X-Amz-Expires=0"),
        ("X-Amz-Expires=60", "X-Amz-Expires=604801"),
        ("X-Amz-Expires=60", "X-Amz-Expires=-1"),
        ("X-Amz-Expires=60", "X-Amz-Expires=" + "0" * 5000 + "1"),
        ("X-Amz-Expires=60", "X-Amz-Expires=%D9%A1"),
        ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=range"),
        ("X-Amz-Expires=60", "X-Amz-Expires=60&X-Amz-Expires=600"),
        ("&X-Amz-Expires=60", ""),
        ("us-east-1", "us-east-2"),
    ],
)
def test_queries_that_cannot_be_read_are_400(old: str, new: str) -> None:
    signer = SigV4(BUCKET, "AK", "secret")
    url = signer.sign("GET", "k", {}, 60, NOW)
    assert old in url
    status, code, _ = refusal(signer, as_request("GET", url.replace(old, new)))
    assert (status, code) == (400, "AuthorizationQueryParametersError")


def test_unsigned_and_foreign_requests() -> None:
    signer = SigV4(BUCKET, "AK", "secret")
    foreign = SigV4(BUCKET, "OTHER", "secret").sign("GET", "k", {}, 60, NOW)
    assert refusal(signer, as_request("GET", foreign))[:2] == (403, "InvalidAccessKeyId")
    ahead = signer.sign("GET", "k", {}, 60, NOW + 1000)
    assert refusal(signer, as_request("GET", ahead))[2] == "Request is not valid yet"
