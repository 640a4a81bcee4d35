"""Keys that URL handling breaks on."""

from __future__ import annotations

from typing import Final

HOSTILE_KEYS: Final = (
    "plain.txt",
    "with space",
    " leading and trailing ",
    "two  spaces",
    "a+b",
    "a%2fb",
    "a%2Fb",
    "100%",
    "a%25b",
    "%",
    "a%zz",
    "..",
    ".",
    "../up",
    "a/../b",
    "a/./b",
    "a/..",
    "a/.",
    "a//b",
    "a///b//c",
    "/leading",
    "//leading",
    "trailing/",
    "trailing.",
    "folder./file.",
    "naïve café",
    "cafe\u0301",  # the same letters, decomposed
    "文件/数据.csv",
    "emoji 🚀/👩‍👩‍👧",
    "what?",
    "?x=1&y=2",
    "a#b",
    "a&b=c",
    "a;b,c:d@e$f!g*h",
    "tilde~dash-dot.under_",
    "quo'te\"s (and) [brackets] {braces}",
    "back\\slash|pipe^caret`tick<angle>",
    "tab\tline\nreturn\rdel\x7f",
    "long/" + "x" * 900,
    "long non-ASCII/" + "é" * 400,
)

assert len(set(HOSTILE_KEYS)) == 40
