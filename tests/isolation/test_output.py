"""What is printed becomes log messages, none of which begins within a URL."""

from __future__ import annotations

import logging
import os

import pytest

from plugin_framework.isolation.output import pump_lines
from plugin_framework.isolation.session import LINE_LIMIT
from plugin_framework.redaction import redacted

URL = "https://user:CANARY@h/p?X-Amz-Date=1&x=CANARY"
LEFT_OUT = f" ... (the rest of a word of more than {LINE_LIMIT} bytes is left out)"


def logged(printed: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    """The messages, as they are written."""
    reader, writer = os.pipe()
    with caplog.at_level(logging.INFO, "printed"):
        pump = pump_lines(reader, "printed")
        with os.fdopen(writer, "w", encoding="utf-8") as pipe:
            pipe.write(printed)
        pump.join(30)
    return [redacted(message) for message in caplog.messages]


def test_lines_are_messages(caplog: pytest.LogCaptureFixture) -> None:
    assert logged("a b\n\n  c\nd e", caplog) == ["a b", "  c", "d e"]


@pytest.mark.parametrize("before", [0, 5, 12, 20, 30, len(URL) - 1, len(URL)])
def test_a_url_at_the_end_of_a_piece_is_not_cut(
    before: int, caplog: pytest.LogCaptureFixture
) -> None:
    line = f"{'x' * (LINE_LIMIT - 1 - before)} {URL} {URL}"
    told = "".join(logged(f"{line}\nnext", caplog))
    assert "CANARY" not in told
    assert told.count("https://...@h/p?...") == 2
    assert told.endswith("next")


def test_of_many_words_none_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    words = [f"{number:07}" for number in range(5 * LINE_LIMIT // 8)]
    told = logged(" ".join(words) + "\n", caplog)
    assert " ".join(told).split() == words
    assert max(map(len, told)) <= 2 * LINE_LIMIT


@pytest.mark.parametrize("end", ["", "\nnext", " next", f"{'y' * LINE_LIMIT} next"])
def test_the_rest_of_a_word_that_is_too_long_is_left_out(
    end: str, caplog: pytest.LogCaptureFixture
) -> None:
    urls = ",".join([URL] * (3 * LINE_LIMIT // len(URL)))
    told = logged(f"a {urls}{end}", caplog)
    assert "CANARY" not in "".join(told)
    assert told[:2] == ["a", f"https://...@h/p?...{LEFT_OUT}"]
    assert [text.strip() for text in told[2:]] == ["next"] * ("next" in end)


def test_of_what_is_no_url_the_beginning_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    assert logged("x" * (3 * LINE_LIMIT), caplog) == ["x" * LINE_LIMIT + LEFT_OUT]
