"""What the files in ``constraints/`` pin: packages' versions, and the hashes of their files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CONSTRAINTS = Path(__file__).parents[1] / "constraints"
# What users install: without extras, and with all of them.
RUNTIME = CONSTRAINTS / "runtime.txt"
EXTRAS = CONSTRAINTS / "extras.txt"
HASH = re.compile(r"\s--hash=sha256:([0-9a-f]{64})(?=\s|$)")


@dataclass(frozen=True, slots=True)
class Pin:
    """One package at one version."""

    name: str  # canonical: lower case, with hyphens
    version: str
    marker: Marker | None  # where it is needed; everywhere, if None
    hashes: tuple[str, ...]  # SHA-256 of each file that may be installed, in hexadecimal

    @property
    def applies(self) -> bool:
        """Whether this interpreter needs it."""
        return self.marker is None or self.marker.evaluate()


def read(path: Path) -> tuple[Pin, ...]:
    """The pins of a file. ValueError: a line is not a version with hashes and nothing else."""
    return tuple(_pin(line) for line in _lines(path.read_text(encoding="utf-8")))


def _lines(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line


def _pin(line: str) -> Pin:
    hashes = tuple(HASH.findall(line))
    requirement = Requirement(HASH.sub("", line).strip())
    exact = re.fullmatch(r"==([^*,]+)", str(requirement.specifier))
    if not hashes or not exact or requirement.url or requirement.extras:
        raise ValueError(f"not a version with the hashes of its files: {line[:80]}")
    return Pin(canonicalize_name(requirement.name), exact[1], requirement.marker, hashes)
