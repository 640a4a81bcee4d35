"""Decides, request by request, what goes wrong."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from plugin_framework.emulator.chaos.target import Target

if TYPE_CHECKING:  # models take a while to load, and most emulators never see a rule
    from plugin_framework.emulator.chaos.reading import RuleSet
    from plugin_framework.emulator.chaos.rules import Rule


@dataclass(frozen=True, slots=True)
class Injection:
    """A fault that a request is hit by; ``seed`` is for what is random in it."""

    rule: Rule
    seed: str


@dataclass(slots=True)
class _Tally:
    seen: int = 0
    injected: int = 0


@dataclass(slots=True)
class _Watch:
    """A rule in force: since when, and what came of it, for each thing that it counts by."""

    rule: Rule
    seed: int
    since: float
    matched: int = 0
    injected: int = 0
    tallies: dict[str, _Tally] = field(default_factory=lambda: defaultdict(_Tally))

    def holds(self, now: float, started: float) -> bool:
        return self.rule.holds_at(now - (self.since if self.rule.clock == "set" else started))

    def hits(self, target: Target) -> str | None:
        """Count a request that matches; what is random in its fault, if it is to be hit."""
        rule, each = self.rule, _each(self.rule, target)
        tally = self.tallies[each]
        self.matched += 1
        tally.seen += 1
        late = tally.seen - rule.skip
        if late < 1 or late % rule.every:
            return None
        seed = f"{self.seed}/{rule.name}/{each}/{late}"
        if _draw(seed) >= rule.probability or tally.injected == rule.count:
            return None
        return seed

    def hit(self, target: Target) -> None:
        self.injected += 1
        self.tallies[_each(self.rule, target)].injected += 1


@dataclass(frozen=True, slots=True)
class _InForce:
    """Replaced as a whole, so that no request sees half of a change."""

    rules: RuleSet
    watches: tuple[_Watch, ...]
    calls: frozenset[str]
    outages: tuple[_Watch, ...]


class Chaos:
    """The rules in force, and what came of them. Safe to use from several threads.

    What one rule does is a matter of its seed and of the requests that match it, in their order;
    other rules change nothing about it. Where several hit a request, delays and the like come
    before what becomes of the request in the end, of which the first rule's is what it gets.
    """

    def __init__(
        self,
        rules: RuleSet | Mapping[str, Any] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._started = clock()
        self._lock = threading.Lock()
        self._in_force: _InForce | None = None
        if rules is not None:
            self.set(rules)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """By the rules of a file, in TOML or JSON.

        Raises:
            ConfigurationError: with a line for each mistake.
        """
        from plugin_framework.emulator.chaos.reading import read_file  # noqa: PLC0415 - see above

        return cls(read_file(path))

    @classmethod
    def from_json(cls, given: object) -> Self:
        """By rules as a file has them.

        Raises:
            ConfigurationError: with a line for each mistake.
        """
        if given == {}:
            return cls()
        from plugin_framework.emulator.chaos.reading import read  # noqa: PLC0415 - see above

        return cls(read(given))

    def set(self, rules: RuleSet | Mapping[str, Any], *, keep: bool = False) -> None:
        """Put rules in the place of those in force. Requests under way keep what they have.

        With ``keep``, a rule that stays as it was goes on counting, and its time goes on.

        Raises:
            ConfigurationError: with a line for each mistake; nothing is changed then.
        """
        from plugin_framework.emulator.chaos import reading  # noqa: PLC0415 - see above

        chosen = rules if isinstance(rules, reading.RuleSet) else reading.read(rules)
        with self._lock:
            old = self._in_force.watches if keep and self._in_force else ()
            kept = {watch.rule.name: watch for watch in old if watch.seed == chosen.seed}
            now = self._clock()
            watches = tuple(
                kept[rule.name]
                if rule.name in kept and kept[rule.name].rule == rule
                else _Watch(rule, chosen.seed, now)
                for rule in chosen.rules
            )
            self._in_force = _in_force(chosen, watches) if watches else None

    def clear(self) -> None:
        """Let all be well again."""
        with self._lock:
            self._in_force = None

    @property
    def active(self) -> bool:
        """Whether there are any rules."""
        return self._in_force is not None

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Those in force."""
        in_force = self._in_force
        return in_force.rules.rules if in_force else ()

    def concerns(self, call: str) -> bool:
        """Whether there is a rule for such calls."""
        in_force = self._in_force
        return in_force is not None and call in in_force.calls

    def decide(self, target: Target) -> list[Injection]:
        """What the request is hit by, in the order of the rules; counted as injected."""
        in_force, ended = self._in_force, False
        found: list[Injection] = []
        if in_force is None:
            return found
        with self._lock:
            now = self._clock()
            for watch in in_force.watches:
                if not (watch.rule.matches(target) and watch.holds(now, self._started)):
                    continue
                seed = watch.hits(target)
                if seed is None or ended:
                    continue
                watch.hit(target)
                found.append(Injection(watch.rule, seed))
                ended = watch.rule.ends
        return found

    def is_out(self, target: Target) -> bool:
        """Whether an outage has begun that ends what is under way."""
        in_force = self._in_force
        if in_force is None or not in_force.outages:
            return False
        now = self._clock()
        return any(
            watch.rule.matches(target) and watch.holds(now, self._started)
            for watch in in_force.outages
        )

    def as_json(self) -> dict[str, Any]:
        """The rules, and for each how many requests matched it and how many it hit.

        ``holds`` is whether its time is now.
        """
        in_force = self._in_force
        if in_force is None:
            return {"seed": 0, "rules": [], "counters": []}
        with self._lock:
            now = self._clock()
            counters = [
                {
                    "name": watch.rule.name,
                    "matched": watch.matched,
                    "injected": watch.injected,
                    "holds": watch.holds(now, self._started),
                }
                for watch in in_force.watches
            ]
        return {**in_force.rules.as_json(), "counters": counters}


def _in_force(rules: RuleSet, watches: tuple[_Watch, ...]) -> _InForce:
    return _InForce(
        rules=rules,
        watches=watches,
        calls=frozenset(call for watch in watches for call in watch.rule.calls),
        outages=tuple(watch for watch in watches if _is_plain_outage(watch.rule)),
    )


def _is_plain_outage(rule: Rule) -> bool:
    """Whether it spares nobody; one that counts is about requests as they come."""
    plain = (rule.skip, rule.every, rule.probability, rule.count) == (0, 1, 1.0, None)
    return rule.fault_name == "outage" and plain


def _each(rule: Rule, target: Target) -> str:
    """What a rule counts by. Keys are random, so files go by their names where these are known."""
    match rule.each:
        case None:
            return ""
        case "subtask":
            return target.subtask
        case "object":
            return f"{target.subtask}/{target.name or target.key}"
        case "part":
            return f"{target.subtask}/{target.name or target.key}/{target.part}"


def _draw(seed: str) -> float:
    """A number from 0 to below 1 that depends on the seed alone."""
    digest = hashlib.blake2b(seed.encode("utf-8", "surrogatepass"), digest_size=7).digest()
    return int.from_bytes(digest) / 256**7
