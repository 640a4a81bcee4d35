from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_framework.protocol.signing import (
    MEMORY_SECONDS,
    Inbound,
    NotSignedError,
    Seen,
    canonical_query,
    sign,
    signature_headers,
    signature_is_valid,
    timestamp_is_valid,
)

queries = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4)
stamps = st.integers(0, 10**11).map(str)
secrets = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


def test_a_signature_made_by_hand() -> None:
    message = b'{"a":"1","b":"2"}' + b'{"x": 1}' + b"1704067200"
    expected = hmac.new(b"secret", message, hashlib.sha256).hexdigest()
    assert sign("secret", {"b": "2", "a": "1"}, b'{"x": 1}', "1704067200") == expected


def test_the_three_headers() -> None:
    assert signature_headers("key", "secret", {}, b"{}", 17) == {
        "D-API-KEY": "key",
        "D-TIMESTAMP": "17",
        "D-SIGNATURE": hmac.new(b"secret", b"{}17", hashlib.sha256).hexdigest(),
    }


@given(queries)
def test_the_order_of_the_query_does_not_matter(query: dict[str, str]) -> None:
    backwards = dict(reversed(list(query.items())))
    assert canonical_query(query) == canonical_query(backwards)
    assert json.loads(canonical_query(query) or "{}") == query


@given(secrets, queries, st.binary(max_size=40), stamps)
def test_what_is_signed_is_valid_under_either_secret(
    secret: str, query: dict[str, str], body: bytes, stamp: str
) -> None:
    signature = sign(secret, query, body, stamp)
    assert signature_is_valid(signature, [secret], query, body, stamp)
    assert signature_is_valid(signature, ["another", secret], query, body, stamp)
    assert not signature_is_valid(signature, [], query, body, stamp)


@given(secrets, queries, st.binary(max_size=40), stamps, st.binary(min_size=1, max_size=5))
def test_another_body_query_or_secret_is_not_valid(
    secret: str, query: dict[str, str], body: bytes, stamp: str, more: bytes
) -> None:
    signature = sign(secret, query, body, stamp)
    assert not signature_is_valid(signature, [secret], query, more + body, stamp)
    assert not signature_is_valid(signature, [secret + "x"], query, body, stamp)
    assert not signature_is_valid(signature, [secret], {**query, "new key": "1"}, body, stamp)


@given(st.text(max_size=80))
def test_no_text_is_a_signature_by_chance(text: str) -> None:
    """Non-ASCII and lone surrogates, too, are compared, and raise nothing."""
    assert not signature_is_valid(text, ["secret"], {}, b"{}", "17")


@pytest.mark.parametrize(
    ("offset", "valid"), [(-301, False), (-300, True), (300, True), (301, False)]
)
def test_a_timestamp_is_valid_for_300_seconds_either_way(offset: int, valid: bool) -> None:  # noqa: FBT001 - a parameter of the table
    assert timestamp_is_valid(str(1_700_000_000 + offset), 1_700_000_000) is valid


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 17",
        "17 ",
        "17\n",
        "+17",
        "-17",
        "1_7",
        "0x11",
        "17.0",
        "017",
        "nan",
        "inf",
        "\uff11\uff17",
        "9" * 13,
    ],
)
def test_a_malformed_timestamp_is_not_valid(text: str) -> None:
    assert not timestamp_is_valid(text, 17)


NOW = 1_700_000_000.0


def headers_of(query: dict[str, str], body: bytes) -> list[tuple[bytes, bytes]]:
    made = signature_headers("key", "secret", query, body, int(NOW))
    return [(name.lower().encode(), value.encode()) for name, value in made.items()]


@given(queries, st.binary(max_size=40))
def test_what_one_side_signs_the_other_takes(query: dict[str, str], body: bytes) -> None:
    inbound = Inbound("key", ["newer", "secret"])
    number = inbound.check(headers_of(query, body), query, body, NOW)
    assert -(2**63) <= number < 2**63
    with pytest.raises(NotSignedError):
        inbound.check(headers_of(query, body), query, body + b"x", NOW)


@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12)), max_size=5))
def test_no_headers_but_the_right_ones_are_taken(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(NotSignedError):
        Inbound("key", ["secret"]).check(headers, {}, b"{}", NOW)
    doubled = [*headers_of({}, b"{}"), *headers_of({}, b"{}")[2:]]
    with pytest.raises(NotSignedError, match="once"):
        Inbound("key", ["secret"]).check(doubled, {}, b"{}", NOW)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_call_is_taken_once_within_twice_the_window() -> None:
    clock = Clock()
    seen = Seen(clock=clock)
    for number in range(100):
        seen.take(number)
        clock.now += 5.9
    with pytest.raises(NotSignedError):
        seen.take(0)
    clock.now += 2 * MEMORY_SECONDS
    seen.take(0)


def test_what_is_remembered_is_bounded_and_room_is_made() -> None:
    clock = Clock()
    seen = Seen(limit=10, clock=clock)
    for number in range(10):
        seen.take(number)
    with pytest.raises(OverflowError):
        seen.take(10)
    clock.now += 2 * MEMORY_SECONDS
    seen.take(10)


def test_what_was_taken_before_a_start_is_remembered_as_long() -> None:
    clock = Clock()
    seen = Seen(clock=clock)
    seen.remember([(1, 10.0), (2, MEMORY_SECONDS - 1)])
    for number in (1, 2):
        with pytest.raises(NotSignedError):
            seen.take(number)
    clock.now += MEMORY_SECONDS - 20
    with pytest.raises(NotSignedError):
        seen.take(1)
