"""The inputs that plugins are tried on, and the larger ones made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugin_framework.testing.conformance.samples import grown, prepare

SIZE = 200_000


@pytest.mark.parametrize(
    "text",
    [
        "one\ntwo\n",
        "caf\u00e9\nab",  # each with a character where the last bytes begin
        "caf\u00e9\nabc",
        "a\U0001f4a5\n",
        "x" + "\u00e9" * 40_000 + "\n",  # of which the first block of bytes has half of one
    ],
)
def test_lines_of_text_are_repeated_wherever_their_characters_stand(
    text: str, tmp_path: Path
) -> None:
    (sample,) = prepare([text.encode()], tmp_path)
    assert sample.suffix == ".txt"
    larger = grown(sample, SIZE, tmp_path)
    assert larger is not None
    assert larger.stat().st_size >= SIZE
    assert set(larger.read_text("utf-8").splitlines()) == set(text.splitlines())


@pytest.mark.parametrize("content", [b"line\n\xff", b"\xe9 is Latin-1\n", b"a\0b\n"])
def test_what_is_no_text_is_not_repeated(content: bytes, tmp_path: Path) -> None:
    (sample,) = prepare([content], tmp_path)
    assert sample.suffix == ".bin"
    assert grown(sample, SIZE, tmp_path) is None


def test_of_a_table_the_header_is_not_repeated(tmp_path: Path) -> None:
    (sample,) = prepare([b"name,city\nAnn,Oslo\n"], tmp_path)
    assert sample.suffix == ".csv"
    larger = grown(sample, SIZE, tmp_path)
    assert larger is not None
    first, *rest = larger.read_text("utf-8").splitlines()
    assert (first, set(rest)) == ("name,city", {"Ann,Oslo"})
