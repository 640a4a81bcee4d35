"""What a check finds, and what a check is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from plugin_framework.errors import Code

if TYPE_CHECKING:
    from plugin_framework.cli.doctor.case import Case

Level = Literal["ok", "warn", "fail", "skip"]
"""``skip`` is what could not be looked at, and why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line on one thing; ``remedy`` says how to mend what is not well.

    ``code`` is that of the error that it leads to.
    """

    check: str
    level: Level
    message: str
    remedy: str | None = None
    code: Code | None = None


Told = tuple[Level, str] | tuple[Level, str, str] | tuple[Level, str, str, Code]
"""Level, message, remedy and code of a finding of the check that tells it."""


@dataclass(frozen=True, slots=True)
class Check:
    """A function of the case; it is run once the checks in ``needs`` have found nothing to fail.

    ``stuck`` is the code where there is no end to it within its ``seconds``.
    """

    name: str
    look: Callable[[Case], Iterable[Told]]
    needs: Sequence[str] = ()
    seconds: float = 5.0
    stuck: Code = Code.UNEXPECTED

    def findings(self, case: Case) -> Iterator[Finding]:
        """What the check has to say."""
        return (Finding(self.name, *told) for told in self.look(case))
