"""Faults by seed: what happens to which request is settled before any is made."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from plugin_framework.emulator.dialects import DIALECTS

KIB: Final = 1024
PART: Final = 64 * KIB
FAULT_RATE: Final = 0.3
MOST_FAULTS: Final = 4
"""Attempts of one piece that may fail: fewer than are made."""

PUT_FAULTS: Final = (
    "reset in the body",
    "reset after it was applied",
    "answer cut short",
    "500",
    "503 SlowDown",
    "error document in a 200",
    "no ETag",
)
GET_FAULTS: Final = ("reset", "truncated body", "500", "503 SlowDown")
CONFUSING: Final = ("range ignored", "another ETag", "no ETag")
"""What may look like another object to a download: it starts over."""
EXPIRED: Final = "expired"


@dataclass(frozen=True)
class Schedule:
    """What one round trip of a file meets: ``size`` in bytes, ``width`` parts at once."""

    seed: int

    @property
    def dialect(self) -> str:
        return list(DIALECTS)[self.seed % len(DIALECTS)]

    @cached_property
    def size(self) -> int:
        chance = self._chance("size")
        odd = [0, 1, PART - 1, PART, PART + 1, 2 * PART]
        return chance.choice(odd) if chance.random() < 0.3 else chance.randrange(12 * PART)

    @property
    def width(self) -> int:
        return self._chance("width").randint(1, 4)

    @property
    def content(self) -> bytes:
        return self._chance("content").randbytes(self.size)

    def fault(self, method: str, piece: int, attempt: int) -> str | None:
        """What happens to the ``attempt`` (from 1) at a piece; -1 is the object in one."""
        singled_out = self._singled_out.get((method, piece))
        if attempt == 1 and singled_out is not None:
            return singled_out
        chance = self._chance(method, piece, attempt)
        if attempt > MOST_FAULTS or chance.random() > FAULT_RATE:
            return None
        return chance.choice(PUT_FAULTS if method == "PUT" else GET_FAULTS)

    def delay(self, method: str, piece: int, attempt: int) -> float:
        """Seconds before anything is done; mostly none."""
        chance = self._chance("delay", method, piece, attempt)
        return chance.uniform(0, 0.02) if chance.random() < 0.1 else 0.0

    @cached_property
    def pieces(self) -> int:
        return max(1, -(-self.size // PART))

    @cached_property
    def _singled_out(self) -> dict[tuple[str, int], str]:
        """The faults that are for once: a second expiry in a row would rightly be the end."""
        chance = self._chance("singled out")
        found: dict[tuple[str, int], str] = {}
        for method, kinds in (("PUT", [EXPIRED]), ("GET", [EXPIRED]), ("GET", CONFUSING)):
            if chance.random() < 0.4:
                found[method, chance.randrange(self.pieces)] = chance.choice(kinds)
        return found

    def _chance(self, *what: object) -> random.Random:
        return random.Random(f"{self.seed}/{'/'.join(map(str, what))}")
