"""Reads robots.txt as RFC 9309 says: the longest rule that fits decides, with ``*`` and ``$``."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES = 500 * 1024
"""What is read of a file: RFC 9309 asks for at least this much."""

LONGEST_DELAY = 60.0
"""Seconds; a site that asks for more between two requests gets this."""

_UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")
_SAFE_IN_QUERY = "".join(set(string.punctuation) - set(":/?#[]@"))


@dataclass(frozen=True, slots=True)
class Rule:
    """Whether addresses that begin as ``pattern`` says may be fetched."""

    pattern: str
    allow: bool

    def fits(self, target: str) -> bool:
        """Whether the rule is about ``target``: in linear time, whatever the pattern."""
        pattern, closed = self.pattern.removesuffix("$"), self.pattern.endswith("$")
        first, *others = pattern.split("*")
        if not target.startswith(first):
            return False
        if closed and not others:
            return target == first
        last = others.pop() if closed else ""
        place = len(first)
        for piece in others:
            place = target.find(piece, place) + len(piece)
            if place < len(piece):
                return False
        return target.endswith(last) and len(target) - len(last) >= place


@dataclass(frozen=True, slots=True)
class Robots:
    """What a site allows: ``delay`` is the seconds between two requests that it asks for."""

    rules: tuple[Rule, ...] = ()
    delay: float = 0.0

    def allow(self, target: str) -> bool:
        """Whether a path, with its query, may be fetched."""
        target = target.replace("*", "%2A").replace("$", "%24")
        # The second is for rules without a "?", whose "*" may reach into the query.
        spellings = _spelled(target), _spelled(target, string.punctuation)
        fitting = (
            (len(rule.pattern), rule.allow) for rule in self.rules if any(map(rule.fits, spellings))
        )
        return max(fitting, default=(0, True))[1]


NOTHING_ALLOWED = Robots((Rule("/", allow=False),))


def parse_robots(text: str, agent: str) -> Robots:
    """The rules for ``agent``, a product's name such as ``web-archive``; else those for all."""
    groups = list(_groups(text))
    chosen = [lines for agents, lines in groups if agent.lower() in agents]
    chosen = chosen or [lines for agents, lines in groups if "*" in agents]
    lines = [line for group in chosen for line in group]
    rules = tuple(
        Rule(_pattern(value), allow=key == "allow")
        for key, value in lines
        if key in {"allow", "disallow"} and value
    )
    delays = [_seconds(value) for key, value in lines if key == "crawl-delay"]
    return Robots(rules, max(delays, default=0.0))


def _groups(text: str) -> Iterator[tuple[set[str], list[tuple[str, str]]]]:
    """The groups: whom each is about, and its lines."""
    agents: set[str] = set()
    lines: list[tuple[str, str]] = []
    for line in text.removeprefix("\ufeff").splitlines():
        key, colon, value = line.partition("#")[0].partition(":")
        key, value = key.strip().lower(), value.strip()
        if not colon:
            continue
        if key == "user-agent":
            if lines:
                yield agents, lines
                agents, lines = set(), []
            agents.add(re.split(r"[/\s]", value.lower())[0])  # "name/1.0" is about the name
        elif key in {"allow", "disallow", "crawl-delay"}:
            lines.append((key, value))
    yield agents, lines


def _pattern(value: str) -> str:
    """A rule's path, spelled as targets are; ``*``, and ``$`` at its end, keep their meaning."""
    return _spelled(value[:-1].replace("$", "%24") + value[-1:])


def _spelled(target: str, safe_in_query: str = _SAFE_IN_QUERY) -> str:
    """Spelled one way (RFC 9309, 2.2.2), so that what is the same is also equal.

    In percents, in capitals: what is not ASCII, and what delimits, within the query. As itself:
    what RFC 3986 calls unreserved.
    """
    path, mark, query = target.partition("?")
    quoted = quote(path, safe=string.punctuation) + mark + quote(query, safe=safe_in_query)
    return re.sub(r"%[0-9a-fA-F]{2}", lambda found: _percents(found[0]), quoted)


def _percents(spelled: str) -> str:
    character = unquote(spelled, "latin-1")
    return character if character in _UNRESERVED else spelled.upper()


def _seconds(value: str) -> float:
    try:
        return min(max(float(value), 0.0), LONGEST_DELAY)
    except ValueError:
        return 0.0
