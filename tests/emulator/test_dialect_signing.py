"""What must hold of every dialect's signatures, whatever is signed and whatever comes."""

from __future__ import annotations

from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from plugin_framework.emulator.dialects import (
    DIALECTS,
    Bucket,
    Dialect,
    ObjectStoreError,
    Request,
    dialect_named,
    parse_query,
)

NOW = 1_700_000_000.0
BUCKET = Bucket("http://127.0.0.1:8000/storage/b")
KEYS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=50)
PARAMS = st.fixed_dictionaries(
    {}, optional={"partNumber": st.integers(1, 10_000).map(str), "uploadId": KEYS}
)
RAW = st.text(st.characters(codec="latin-1"), max_size=50) | st.binary(max_size=30).map(quote)
PARAMETERS = {
    "s3": ("X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders"),
    "s3-v2": ("AWSAccessKeyId", "Expires", "Signature"),
    "oss": ("x-oss-credential", "x-oss-date", "x-oss-expires", "x-oss-additional-headers"),
    "oss-v1": ("OSSAccessKeyId", "Expires", "Signature"),
    "cos": ("q-ak", "q-sign-time", "q-key-time", "q-header-list", "q-url-param-list"),
}

each_dialect = pytest.mark.parametrize("name", DIALECTS)


def named(name: str) -> Dialect:
    return dialect_named(name, BUCKET, "AK", "secret")


def as_request(method: str, url: str, *headers: tuple[str, str]) -> Request:
    netloc, _, target = url.removeprefix("http://").partition("/")
    path, _, query = target.partition("?")
    return Request(method, f"/{path}", query, [("host", netloc), *headers])


def meaning(url: str) -> object:
    """What a URL says, however it is quoted."""
    path, _, query = url.partition("?")
    return unquote_to_bytes(path), sorted(parse_query(query))


@each_dialect
@settings(deadline=None)
@given(
    method=st.sampled_from(["GET", "PUT"]), key=KEYS, params=PARAMS, expires=st.integers(1, 604_800)
)
def test_what_is_signed_is_taken_until_it_expires(
    name: str, method: str, key: str, params: dict[str, str], expires: int
) -> None:
    dialect = named(name)
    url = dialect.sign(method, key, params, expires, NOW)
    assert url.isascii()
    assert url.isprintable()
    dialect.verify(as_request(method, url), NOW + expires)
    for request, now in (
        (as_request(method, url), NOW + expires + 1),
        (as_request("DELETE", url), NOW),
    ):
        with pytest.raises(ObjectStoreError) as caught:
            dialect.verify(request, now)
        assert caught.value.status == 403


@each_dialect
@settings(deadline=None)
@given(data=st.data())
def test_a_changed_character_is_refused(name: str, data: st.DataObject) -> None:
    dialect = named(name)
    url = dialect.sign("PUT", "key", {"partNumber": "1", "uploadId": "u-1"}, 60, NOW)
    place = data.draw(st.integers(len("http://127.0.0.1:8000/"), len(url) - 1))
    other = data.draw(st.sampled_from("abcXYZ019-_./=&%;"))
    changed = url[:place] + other + url[place + 1 :]
    assume(meaning(changed) != meaning(url))
    with pytest.raises(ObjectStoreError):
        dialect.verify(as_request("PUT", changed), NOW)


@each_dialect
@settings(deadline=None)
@given(data=st.data(), path=RAW, header=RAW)
def test_whatever_comes_is_refused_in_order(
    name: str, data: st.DataObject, path: str, header: str
) -> None:
    """Never by another error: that would be an answer 500."""
    dialect = named(name)
    signed = dialect.sign("GET", "key", {}, 60, NOW)
    query = dict(pair.split("=") for pair in signed.partition("?")[2].split("&"))
    for parameter in data.draw(st.sets(st.sampled_from(PARAMETERS[name]), min_size=1)):
        query[parameter] = data.draw(RAW)
    text = "&".join(f"{key}={value}" for key, value in query.items())
    headers = [("host", header), ("x-amz-a", header), ("x-oss-a", header), (header, header)]
    request = Request("GET", f"/storage/b/{path}", text, headers)
    with pytest.raises(ObjectStoreError) as caught:
        dialect.verify(request, NOW)
    body = dialect.document(caught.value, request, "0123456789ABCDEF01234567")
    assert b"<RequestId>" in body.decode().encode()


def test_the_secret_is_in_no_repr() -> None:
    for name in DIALECTS:
        dialect = dialect_named(name, BUCKET, "AK", "hidden")
        assert "hidden" not in repr(dialect)
        assert "hidden" not in repr(dialect._schemes)
