"""Reads rules from TOML and JSON, and says what is wrong with them, a line for each mistake."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from plugin_framework.emulator.api import without_repeats
from plugin_framework.emulator.chaos.rules import FAULTS, Expected, Rule
from plugin_framework.errors import Code, ConfigurationError

_SHOWN_CHARACTERS: Final = 60
_FIELDS: Final = ("seed", "rules")
_REPORTED: Final = "counters"  # what Chaos.as_json says besides, so that it may be handed back


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules in their order, and the seed of their probabilities."""

    seed: int = 0
    rules: tuple[Rule, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As a file has them."""
        return {"seed": self.seed, "rules": [rule.as_json() for rule in self.rules]}


def read_file(path: Path) -> RuleSet:
    """The rules of a file: JSON where its name ends so, else TOML.

    Raises:
        ConfigurationError: it cannot be read, or with a line for each mistake in it.
    """
    kind = "JSON" if path.suffix.lower() == ".json" else "TOML"
    try:
        if path.exists() and not path.is_file():  # a named pipe would keep us waiting
            raise ValueError("it is no regular file")  # noqa: TRY301 - as any other reason
        text = path.read_text(encoding="utf-8-sig")
        if kind == "JSON":
            given = json.loads(text, object_pairs_hook=without_repeats)
        else:
            given = tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ConfigurationError(
            f"{path}: expected a readable {kind} file ({reason})", code=Code.FAULTS_WRONG
        ) from None
    return read(given, str(path))


def read(given: object, where: str = "chaos") -> RuleSet:
    """The rules of what a file holds; ``where`` begins each line about a mistake.

    Raises:
        ConfigurationError: with a line for each mistake.
    """
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"{where}: expected an object with {' and '.join(_FIELDS)}", code=Code.FAULTS_WRONG
        )
    problems = [
        f"{where}: {_shown(name)}: no such field{_nearest(name, _FIELDS)}"
        for name in given
        if name not in (*_FIELDS, _REPORTED)
    ]
    seed, listed = given.get("seed", 0), given.get("rules", [])
    if type(seed) is not int:
        problems.append(f"{where}: {_shown('seed', seed)}: expected a whole number")
    if not isinstance(listed, list):
        problems.append(f"{where}: {_shown('rules', listed)}: expected a list of rules")
        listed = []
    rules = _rules(listed, where, problems)
    if problems:
        raise ConfigurationError(problems, code=Code.FAULTS_WRONG)
    return RuleSet(seed, tuple(rules))


def _rules(listed: Iterable[object], where: str, problems: list[str]) -> list[Rule]:
    rules: list[Rule] = []
    for number, given in enumerate(listed, 1):
        try:
            rule = _rule(given, number)
            if rule.name in {other.name for other in rules}:
                raise ConfigurationError(  # noqa: TRY301 - one way for all that is wrong with it
                    f"{_shown('name', rule.name)}: expected a text that no other rule has"
                    " for a name",
                    code=Code.FAULTS_WRONG,
                )
            rules.append(rule)
        except ConfigurationError as error:
            place = f"{where}, rule {number}{_named(given)}"
            problems += [f"{place}: {line}" for line in error.problems]
    return rules


def _named(given: object) -> str:
    name = given.get("name") if isinstance(given, Mapping) else None
    return f" ({_clean(name)})" if isinstance(name, str) else ""


def _rule(given: object, number: int) -> Rule:
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"{_short(given)}: expected a rule, which is an object", code=Code.FAULTS_WRONG
        )
    fault = given.get("fault")
    kind = FAULTS.get(fault) if isinstance(fault, str) else None
    if kind is None:
        shown = "fault is missing" if fault is None else _shown("fault", fault)
        near = _nearest(fault, FAULTS)
        raise ConfigurationError(
            f"{shown}: expected one of {', '.join(FAULTS)}{near}", code=Code.FAULTS_WRONG
        )
    named = given if given.get("name") else {**given, "name": f"{fault}-{number}"}
    try:
        # JSON has no tuples: as in a file, lists stand for them. What TOML has besides is text.
        return kind.model_validate_json(json.dumps(named, default=str))
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=True)
        raise ConfigurationError(
            dict.fromkeys(_line(kind, one, given) for one in found), code=Code.FAULTS_WRONG
        ) from None


def _line(kind: type[Rule], found: ErrorDetails, given: Mapping[str, Any]) -> str:
    known = {info.alias or name: info for name, info in kind.model_fields.items()}
    name = _place(found)
    if name not in known:
        return f"{_shown(name)}: no such field of {given['fault']}{_nearest(name, known)}"
    expected = _expected(known[name])
    if found["type"] == "missing":
        return f"{name} is missing: expected {expected}"
    if found["type"] == "chaos_call":
        applies = ", ".join(kind.applies)
        shown = _shown(name, found["ctx"]["call"])
        return f"{shown}: expected some of {applies}: those that {given['fault']} makes sense for"
    if found["type"] in {"chaos_method", "chaos_part"}:
        return f"{_shown(name, given[name])}: none of the rule's calls has that"
    value = found["input"] if found["loc"] else given.get(name)
    near = _nearest(value, re.findall(r"\w+", expected)) if "literal" in found["type"] else ""
    return f"{_shown(name, value)}: expected {expected}{near}"


def _place(found: ErrorDetails) -> str:
    """The field that a mistake is in; what is checked last, over several fields, says so."""
    kind, _, name = found["type"].partition("_")
    return name if kind == "chaos" and name else str(found["loc"][0])


def _expected(info: FieldInfo) -> str:
    return next(entry.text for entry in info.metadata if isinstance(entry, Expected))


def _nearest(given: object, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(given), list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _shown(name: str, *value: object) -> str:
    return "=".join([_clean(str(name)), *map(_short, value)])


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return _clean(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...")


def _clean(text: str) -> str:
    """On one line: names and values come from a file, or from over the network."""
    return "".join(char if char.isprintable() else "?" for char in text)
