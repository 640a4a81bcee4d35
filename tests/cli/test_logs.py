from __future__ import annotations

import io
import json
import logging
import string
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_framework.cli.logs import JsonLines, Origin, Redact
from plugin_framework.redaction import redacted

SECRET = st.text(string.ascii_letters + string.digits + "-_~%.", min_size=12).map("s3cr3t".__add__)
PLACE = st.text(string.ascii_lowercase + "/.-:0123456789", min_size=1)
AROUND = st.sampled_from(["", " ", "'", '"', "<", ">", "\n", "(", "GET ", "url="])
NAMES = ("X-Amz-Signature", "X-Amz-Credential", "Signature", "q-signature", "x-oss-signature")


@given(AROUND, st.sampled_from(["http", "https", "HTTPS"]), PLACE, SECRET, AROUND)
def test_no_query_of_a_url_is_left(
    before: str, scheme: str, place: str, secret: str, after: str
) -> None:
    text = redacted(f"{before}{scheme}://h{place}?a={secret}&b={secret}{after}")
    assert secret not in text
    assert text.startswith(f"{before}{scheme}://h{place}?...")


@given(PLACE, st.sampled_from(NAMES), SECRET)
def test_no_signature_of_a_path_is_left(place: str, name: str, secret: str) -> None:
    text = redacted(f'"GET /{place}?part=1&{name}={secret}&x={secret} HTTP/1.1" 200')
    assert secret not in text
    assert text == f'"GET /{place}?... HTTP/1.1" 200'


@given(st.sampled_from(["http", "socks5h", "amqp"]), SECRET, PLACE)
def test_no_password_of_a_url_is_left(scheme: str, secret: str, place: str) -> None:
    assert redacted(f"{scheme}://user:{secret}@h{place}") == f"{scheme}://...@h{place}"


PIECES = (
    "a",
    "?",
    "@",
    ":",
    "/",
    "://",
    "\\",
    "'",
    '"',
    ",",
    " ",
    "<",
    "sig=",
    "%3A%2F%2F",
    "%3F",
    "%40",
)


@given(st.text() | st.lists(st.sampled_from(PIECES)).map("".join))
def test_it_is_stable_and_leaves_other_text_alone(text: str) -> None:
    assert redacted(redacted(text)) == redacted(text)
    if not any(piece in text for piece in ("?", "@", "=", "%")):
        assert redacted(text) == text


QUOTES = "filename*=UTF-8''d.csv&f(N,'a','b')&x=\"y\"&z=<a>"
FORMS = {
    f"GET https://h/o?{QUOTES}&Signature=CANARY": "GET https://h/o?...",
    f'"GET /o?{QUOTES}&Signature=CANARY HTTP/1.1" 200': '"GET /o?... HTTP/1.1" 200',
    "https://u:a/CANARY@h/": "https://...",
    "https://u:CANARY?x@h/": "https://...",
    "https://u:CANARY://x@h/": "https://...",
    "amqp://u:CA'NARY@h x": "amqp://...@h x",
    "amqp://u:1'CANARY@h x": "amqp://...@h x",
    r'{"url":"https:\/\/h\/p?token=CANARY","n":1}': r'{"url":"https:\/\/h\/p?...","n":1}',
    r'"{\"url\":\"https:\/\/u:CANARY@h\"}"': r'"{\"url\":\"https:\/\/...@h\"}"',
    "https%3A%2F%2Fh%2Fp%3Ftoken%3DCANARY x": "https%3A%2F%2Fh%2Fp?... x",
    "amqp%3A%2F%2Fu%3ACANARY%40h%2F": "amqp%3A%2F%2F...@h%2F",
    "https://h/p#access_token=CANARY&a=1": "https://h/p#access_token=...&a=1",
    "X-Amz-Signature=CANARY&a=1": "X-Amz-Signature=...&a=1",
    "/p%3FX-Amz-Security-Token%3DCANARY": "/p%3FX-Amz-Security-Token%3D...",
    "/p%253Fsig%253DCANARY": "/p%253Fsig%253D...",
    "AWS Credential=CANARY/s3, SignedHeaders=host": "AWS Credential=..., SignedHeaders=host",
}
"""What holds a secret, and what is told of it."""


@pytest.mark.parametrize(("text", "told"), FORMS.items())
def test_no_other_form_of_a_secret_is_left(text: str, told: str) -> None:
    assert redacted(text) == told


@pytest.mark.parametrize(
    "text",
    [
        '{"message":"cannot fetch https://h/p?a=1","level":"error"}',
        r"{\"url\":\"https://h/p?a=1\",\"n\":1}",
        '{"n":1,"urls":["https://h/p?a=1","https://h/p?a=1"]}',
        "{'url': 'https://h/p?a=1', 'n': [b'https://h/p?a=1']}",
        "OSError('https://h/p?a=1')",
        '<a href="https://h/p?a=1">it isn\'t</a>',
        "<url>https://h/p?a=1</url>",
        "see <https://h/p?a=1>, 'and' so on",
    ],
)
def test_what_stands_around_a_url_is_left(text: str) -> None:
    assert redacted(text) == text.replace("?a=1", "?...")


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:9000/b/me@x",
        "http://[::1]:80/@x",
        "x://h:a,x://i:b 'c'",
        "why? a=b sign=c",
    ],
)
def test_what_is_no_secret_is_left(text: str) -> None:
    assert redacted(text) == text


def test_each_of_several_urls_in_one_word_is_redacted() -> None:
    assert (
        redacted("a=ftp://u:p@x/y,b=http://v:q@z/?s=1,c") == "a=ftp://...@x/y,b=http://...@z/?..."
    )


@pytest.mark.parametrize(
    "piece",
    [*PIECES, "http://", "x://y?", "signature=?", "&", "?'", "'),", "%25", "x://y:z@", ":\\"],
)
def test_a_long_hostile_line_takes_no_time(piece: str) -> None:
    # Anything quadratic would not end within the time limit of a test.
    for start in ("", "x?", "x://a:b"):
        assert redacted(f"{start}{piece * 300_000}@")


def logged(
    message: str, *values: object, exc_info: bool = False, origin: Origin | None = None
) -> dict[str, Any]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(origin))
    handler.addFilter(Redact())
    record = logging.LogRecord(
        "name", 10, "", 0, message, values, sys.exc_info() if exc_info else None
    )
    handler.handle(record)
    assert stream.getvalue().count("\n") == 1
    line = json.loads(stream.getvalue())
    assert isinstance(line, dict)
    return line


def test_a_line() -> None:
    line = logged("two\nlines %s", "é")
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "debug", "logger": "name", "message": "two\nlines é"}


def test_in_a_cluster_a_line_names_the_node_and_the_attempt() -> None:
    origin = Origin("machine-1", {"s-1": {"attempt": 2}})
    line = logged("subtask %s: running", "s-1", origin=origin)
    assert (line["node"], line["subtask_id"], line["attempt"]) == ("machine-1", "s-1", 2)
    other = logged("subtask %s: running", "s-2", origin=origin)
    assert other["node"] == "machine-1"
    assert "attempt" not in other


@pytest.mark.parametrize(
    ("message", "values", "subtask_id"),
    [
        ("subtask %s: %s", ("a b: c", "running"), "a b: c"),
        ("what was kept of subtask %s: %s", ("s-1", "delivered"), "s-1"),
        ("plugin %s: subtask %s", ("p", "s-1"), None),
        ("subtask s-1: running", (), None),
    ],
)
def test_a_line_names_the_subtask_that_it_is_about(
    message: str, values: tuple[str, ...], subtask_id: str | None
) -> None:
    assert logged(message, *values).get("subtask_id") == subtask_id


def test_tracebacks_are_redacted() -> None:
    try:
        int("at https://h/p?sig=s3cr3t")
    except ValueError:
        line = logged("it failed", exc_info=True)
    assert line["traceback"].startswith("Traceback")
    assert line["traceback"].endswith(": 'at https://h/p?...'")


def test_arguments_that_do_not_fit_are_logged_all_the_same() -> None:
    assert logged("%d at %s", "https://h/p?sig=1")["message"] == "%d at %s ('https://h/p?...',)"
