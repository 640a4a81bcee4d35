"""What JSON is held to so that whoever receives it can read it, the supervisor first."""

from __future__ import annotations

import re
import sys
from itertools import accumulate

from plugin_framework.errors import InvalidResultError

DEPTH_LIMIT = 900
"""How deep objects and arrays may be nested: Python itself reads not quite 1000 levels."""

DIGITS_LIMIT = sys.int_info.default_max_str_digits
"""Digits of one number."""

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
