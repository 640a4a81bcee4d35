"""What a rule is, and how it is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plugin_framework.testing.conformance.case import Case


class Broken(Exception):  # noqa: N818 - what a rule is, not what went wrong here
    """The plugin does not keep the rule; the message says what was seen."""


class NotApplicable(Exception):  # noqa: N818 - no error: it is said in the report
    """The rule could not be tried on this plugin; the message says why."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule for plugins.

    Attributes:
        id: its name, for ``--rule``.
        title: what a plugin that keeps it does, in one sentence.
        why: what goes wrong where it is not kept.
        mend: what to do then.
        judge: tries a case; returns what was seen, or raises ``Broken`` or ``NotApplicable``.
    """

    id: str
    title: str
    why: str
    mend: str
    judge: Callable[[Case], str]


def counted(number: int, thing: str) -> str:
    """How many there are, in words."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
