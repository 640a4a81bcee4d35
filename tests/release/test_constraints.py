"""What is installed is pinned, with hashes, from nowhere in particular."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from release.pins import CONSTRAINTS, EXTRAS, RUNTIME, Pin, read

PROJECT: dict[str, Any] = tomllib.loads(
    (CONSTRAINTS.parent / "pyproject.toml").read_text(encoding="utf-8")
)
FILES = sorted(CONSTRAINTS.glob("*.txt"))
NEEDED = PROJECT["project"]["dependencies"]
OPTIONAL = [one for extra in PROJECT["project"]["optional-dependencies"].values() for one in extra]


def _group(name: str) -> Iterator[str]:
    for entry in PROJECT["dependency-groups"][name]:
        if isinstance(entry, dict):
            yield from _group(entry["include-group"])
        else:
            yield entry


ASKED = {
    "build": [*PROJECT["build-system"]["requires"], *_group("build")],
    "dev": [*NEEDED, *OPTIONAL, *_group("dev")],
    "extras": [*NEEDED, *OPTIONAL],
    "peers": [*_group("peers")],
    "runtime": NEEDED,
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_line_is_a_version_with_hashes(path: Path) -> None:
    pins = read(path)
    assert len({(pin.name, pin.version) for pin in pins}) == len(pins) > 0


@pytest.mark.parametrize(
    "line",
    [
        "httpx==0.28.1",
        "httpx>=0.28.1 --hash=sha256:" + "0" * 64,
        "httpx==0.28.* --hash=sha256:" + "0" * 64,
        "httpx==0.28.1 --hash=md5:" + "0" * 32,
        "httpx @ file:///httpx.whl --hash=sha256:" + "0" * 64,
        "--extra-index-url=elsewhere",
        "-e .",
    ],
)
def test_any_other_line_is_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "constraints.txt"
    path.write_text(line)
    with pytest.raises(ValueError, match=r"not a version|Expected|[Ii]nvalid"):
        read(path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_none_says_from_where(path: Path) -> None:
    """Where packages come from is their user's choice, and what comes is checked by its hash."""
    assert re.findall(r"[a-z+]+://|^\s*-[a-z-]+|@", path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_asked_for_is_pinned(path: Path) -> None:
    pins = {pin.name: pin for pin in read(path)}
    for requirement in map(Requirement, ASKED[path.stem]):
        pin = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin.version), f"{requirement}: {pin.version}"


@pytest.mark.parametrize("name", ["runtime", "extras"])
def test_what_is_tried_is_what_users_get(name: str) -> None:
    def everywhere(pins: tuple[Pin, ...]) -> set[tuple[str, str]]:
        return {(pin.name, pin.version) for pin in pins if pin.applies}

    assert everywhere(read(CONSTRAINTS / f"{name}.txt")) <= everywhere(
        read(CONSTRAINTS / "dev.txt")
    )


def test_extras_change_nothing_of_the_rest() -> None:
    files = {(pin.name, pin.version, pin.hashes) for pin in read(EXTRAS)}
    assert {(pin.name, pin.version, pin.hashes) for pin in read(RUNTIME)} <= files
