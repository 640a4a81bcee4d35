"""Cuts credentials out of text for people: presigned queries, and passwords in URLs."""

from __future__ import annotations

import re

# Lines come from plugins, and may be long and hostile: nothing here looks at a character often.
_WORD = re.compile(r"[^\s'\"<>]+")

# As it stands, within JSON that escapes slashes, or percent-encoded.
_SCHEME_END = re.compile(r"((?::|%3A)(?:\\*/|%2F){2})", re.IGNORECASE)

# A quote may be a part of a URL: what follows tells the one that ends it. JSON has no ' to quote
# with, and queries have it before commas and brackets (UTF-8''d.csv, f(Name,'abc')).
_END = re.compile(
    r"\s|\\?\"(?=[\s,;:.)\]}>'\"<\\]|$)|\\?'(?=[,;:.)\]}>]*(?:[\s\"<\\]|$))"
    r"|>(?=[\s,;:.)\]}'\"<\\]|$)|<(?=/)"
)
_QUESTION = re.compile(r"\?")
_ENCODED_QUESTION = re.compile(r"\?|%3F", re.IGNORECASE)
_SLASH = re.compile(r"[/\\]|%2F", re.IGNORECASE)
_USER = re.compile(r".*(?:@|%40)", re.DOTALL)
_HOST = re.compile(r"(?:\[[^\]]*\]|[^:]*)(?::[0-9]*)?")

_SIGNED = re.compile(r"(?:signature|sig|credential|security-token)=", re.IGNORECASE)
_VALUE = re.compile(  # begins with what is rare: by the names it would be slow
    r"([=%](?:(?<=signature.)|(?<=sig.)|(?<=credential.)|(?<=security.token.)"
    r"|(?<=access.token.)|(?<=refresh.token.))(?:(?<==)|(?:25)*3D))[^\s&'\"<>,;]+",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """The text without the queries of URLs, and without the user names and passwords in them.

    Nor are there values of what is called a signature or the like, wherever they stand.
    """
    clean, done = [], 0
    for word in _WORD.finditer(text):
        if word.start() >= done and ("?" in word[0] or _SCHEME_END.search(word[0])):
            end = _END.search(text, word.start() + len(word[0].rstrip("\\")))
            clean.append(text[done : word.start()])
            done = end.start() if end else len(text)
            clean.append(_redacted_word(text[word.start() : done]))
    clean.append(text[done:])
    return _VALUE.sub(r"\1...", "".join(clean))


def _redacted_word(word: str) -> str:
    """A presigned query is a credential, and so is what stands before a host's @."""
    first, *rest = _SCHEME_END.split(word)
    path, question, query = first.partition("?")
    # Other libraries log the path and query of a request by themselves.
    if question and _SIGNED.search(query):
        return f"{path}?..."
    clean = [first]
    places = rest[1::2]
    last_user = max((number for number, place in enumerate(places) if "@" in place), default=-1)
    for number, place in enumerate(places):
        colon = rest[2 * number]
        path, *query_of = (_ENCODED_QUESTION if "%" in colon else _QUESTION).split(place, 1)
        authority = _SLASH.split(path, 1)[0]
        user = _USER.match(authority)
        if user is None and number <= last_user and not _HOST.fullmatch(authority):
            # A password that is not encoded as it should be: any part may belong to it.
            return "".join((*clean, colon, "..."))
        kept = f"...@{path[user.end() :]}" if user else path
        clean.append(f"{colon}{kept}?..." if query_of else colon + kept)
        if query_of:
            break
    return "".join(clean)
