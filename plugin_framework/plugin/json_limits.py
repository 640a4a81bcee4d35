"""What JSON is held to so that whoever receives it can read it, the supervisor first."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any

from plugin_framework.errors import InvalidResultError

DEPTH_LIMIT = 900
"""How deep objects and arrays may be nested: Python itself reads not quite 1000 levels."""

DIGITS_LIMIT = sys.int_info.default_max_str_digits
"""Digits of one number."""

_STEPS = 10
"""Keys of a place that are told."""

_PLAIN = re.compile(r"[\w-]{1,40}")
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"')
_NO_BRACKETS = re.compile(r"[^][{}]+")
# Looks behind, lest it begins anew at each digit.
_LONG_NUMBER = re.compile(rf"(?<![0-9])[0-9]{{{DIGITS_LIMIT + 1}}}")


def refuse_unreadable(text: str, what: str) -> None:
    """Check a JSON text that was written without fault; of parsed values it may be too late.

    Raises:
        InvalidResultError: naming ``what``.
    """
    bare = _STRING.sub("", text)
    if _LONG_NUMBER.search(bare):
        raise InvalidResultError(f"{what} has a number of more than {DIGITS_LIMIT} digits")
    steps = (1 if one in "[{" else -1 for one in _NO_BRACKETS.sub("", bare))
    if max(accumulate(steps), default=0) > DEPTH_LIMIT:
        raise InvalidResultError(f"{what} is nested more than {DEPTH_LIMIT} deep")


def place_of_fault(value: Any, write: Callable[[Any], object], fault: Exception) -> str:
    """Where in ``value`` is what ``write`` raised ``fault`` for, as ``" at files[2].path"``.

    Empty for the value itself, and for what goes round in a circle.
    """
    steps: list[str] = []
    while len(steps) < _STEPS:
        for step, part in _parts_of(value):
            if _fails_alike(part, write, fault):
                steps.append(step)
                value = part
                break
        else:
            break
    else:
        return ""
    return f" at {''.join(steps).removeprefix('.')}" if steps else ""


def _parts_of(value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        return ((_step(key), part) for key, part in value.items())
    if isinstance(value, list | tuple):
        return ((f"[{number}]", part) for number, part in enumerate(value))
    return ()


def _step(key: object) -> str:
    text = str(key)
    return f".{text}" if _PLAIN.fullmatch(text) else f"[{text!r:.40}]"


def _fails_alike(part: object, write: Callable[[Any], object], fault: Exception) -> bool:
    try:
        write(part)
    except type(fault):
        return True
    except (TypeError, ValueError, RecursionError):
        return False
    return False
