"""Nobody gets a package under a licence that was not thought about."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from release.licences import ALLOWED_FOR, ELSEWHERE, licence, refusal
from release.pins import EXTRAS, Pin, read

PINS = {pin.name: pin for pin in read(EXTRAS)}


def _pin(folder: Path, name: str, *lines: str) -> Pin:
    """A package installed in ``folder`` whose metadata says this of its licence."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    text = "\n".join(["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *lines, ""])
    (info / "METADATA").write_text(text)
    return Pin(name, "1.0", None, ())


@pytest.mark.parametrize("pin", PINS.values(), ids=PINS)
def test_the_licence_of_what_is_installed_is_allowed(pin: Pin) -> None:
    assert refusal(pin) is None


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["License-Expression: GPL-3.0-only"], "GPL-3.0-only is not allowed"),
        (["License-Expression: MIT AND GPL-2.0-or-later"], "MIT AND GPL-2.0-or-later is not"),
        (["License-Expression: LGPL-3.0-only"], "LGPL-3.0-only is not allowed"),
        (["License-Expression: LicenseRef-Ours"], "LicenseRef-Ours is not allowed"),
        (["License: Ask us"], "Ask us is not allowed"),
        (["License: GPL", "Classifier: License :: OSI Approved :: GPLv3"], "GPLv3 is not allowed"),
        (
            [
                "Classifier: License :: OSI Approved :: MIT License",
                "Classifier: License :: OSI Approved :: GPLv3",
            ],
            r"\(GPLv3\) AND \(MIT\) is not allowed",
        ),
        ([], "no licence"),
    ],
)
def test_a_package_that_is_refused(tmp_path: Path, lines: list[str], said: str) -> None:
    pin = _pin(tmp_path, "made-up", *lines)
    reason = refusal(pin, [str(tmp_path)])
    assert reason
    assert re.match(rf"made-up 1\.0: {said}", reason)


@pytest.mark.parametrize(
    "lines",
    [
        ["License-Expression: GPL-3.0-only OR MIT"],
        ["License-Expression: (MIT OR GPL-3.0-only) AND BSD-2-Clause"],
        ["License: Apache License 2.0"],
        ["License: GPL", "License-Expression: MIT"],
    ],
)
def test_a_package_that_may_be_had_otherwise(tmp_path: Path, lines: list[str]) -> None:
    assert refusal(_pin(tmp_path, "made-up", *lines), [str(tmp_path)]) is None


def test_a_package_that_is_not_installed(tmp_path: Path) -> None:
    assert refusal(Pin("made-up", "1.0", None, ()), [str(tmp_path)]) == "made-up 1.0: no licence"


def test_no_exception_is_kept_for_nothing() -> None:
    assert {name for name, _ in ALLOWED_FOR} | ELSEWHERE.keys() <= PINS.keys()
    assert [name for name, said in ALLOWED_FOR if licence(PINS[name]) != said] == []
    assert [name for name in ELSEWHERE if PINS[name].marker is None] == []


def test_the_command_prints_each_licence() -> None:
    command = [sys.executable, "-m", "release.licences"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert len(printed.splitlines()) == len(PINS)
    assert f"click {PINS['click'].version}: BSD-3-Clause\n" in printed
