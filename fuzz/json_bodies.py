"""Changes to an input whose last paragraph is JSON, such that it stays JSON."""

from __future__ import annotations

import json
import random
from typing import Any

import atheris

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 5, 1.0, 0.5, -0.0, 1e300, float("inf"), float("nan")),
    *(2**31, 2**53 + 1, 2**63, 2**64, 10**30, "", " ", "0", "1", "1.0", "nan", "\0", "\ud800"),
    *("\u00e9", "\u2028", "\U0001f600", "x" * 300, "http://s/o?x=y", [], {}, [[]], [{}], {"": 0}),
)


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Another input: every second time with the JSON changed as such, else with its bytes."""
    chance = random.Random(seed)
    head, gap, body = data.rpartition(b"\n\n")
    if chance.random() < 0.5:
        return bytes(atheris.Mutate(data, max_size))
    try:
        value = _changed(json.loads(body), chance)
        made = head + gap + json.dumps(value, ensure_ascii=chance.random() < 0.9).encode()
    except (ValueError, RecursionError):
        made = b""
    return made if 0 < len(made) <= max_size else bytes(atheris.Mutate(data, max_size))


def _changed(value: Any, chance: random.Random) -> Any:
    """The value with something about it, or deep in it, made otherwise."""
    if isinstance(value, dict | list) and value and chance.random() < 0.8:
        return _changed_within(value, chance)
    kind = chance.randrange(4)
    if kind == 0:
        return [value] if chance.random() < 0.5 else {"a": value}
    if kind == 1 and isinstance(value, int) and not isinstance(value, bool):
        return value + chance.choice([-1, 1, value, 2**16])
    if kind == 2 and isinstance(value, str):
        return chance.choice([value + value, value[1:], value.upper(), f" {value}"])
    return chance.choice(ODD)


def _changed_within(value: dict[str, Any] | list[Any], chance: random.Random) -> Any:
    places: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
    place, other = chance.choice(places), chance.choice(places)
    made: Any = value.copy()
    match chance.randrange(6):
        case 0:
            del made[place]
        case 1:
            made[place] = made[other]
        case 2 if isinstance(made, list):
            made.insert(other, made[place])
        case 3 if isinstance(made, dict):
            made[chance.choice(["", "a", f"{place}s", "__proto__"])] = made.pop(place)
        case _:
            made[place] = _changed(made[place], chance)
    return made
