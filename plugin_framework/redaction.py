"""Cuts credentials out of text for people: presigned queries, and passwords in URLs."""

from __future__ import annotations

import re

# What may be a URL. Each is looked at once: lines come from plugins, and may be long and hostile.
_WORD = re.compile(r"[^\s'\"<>]+")
_SIGNED = re.compile(r"(?:signature|\bsig|credential|security-token)=", re.IGNORECASE)


def redacted(text: str) -> str:
    """The text without the queries of URLs, and without the user names and passwords in them."""
    return _WORD.sub(lambda found: _redacted_word(found[0]), text)


def _redacted_word(word: str) -> str:
    """A presigned query is a credential, and so is what stands before a host's @."""
    first, *rest = word.split("://")
    path, question, query = first.partition("?")
    # Other libraries log the path and query of a request by themselves.
    if question and _SIGNED.search(query):
        return f"{path}?..."
    clean = [first]
    for part in rest:
        path, question, _ = part.partition("?")
        authority, slash, place = path.partition("/")
        if "@" in authority:
            path = f"...@{authority.rpartition('@')[2]}{slash}{place}"
        clean.append(f"{path}?..." if question else path)
        if question:
            break
    return "://".join(clean)
