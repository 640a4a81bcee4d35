"""The public surface under mypy and pyright, both strict."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.typing.checkers import PINNED, PROJECT, pyright


def test_mypy_accepts_what_authors_write() -> None:
    """What it must refuse is refused too: else it would say that an ignore is not needed."""
    ended = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "tests/typing"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout


def test_pyright_accepts_what_authors_write(tmp_path: Path) -> None:
    ended = pyright("-p", PINNED, cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout


def test_pyright_is_pinned_by_its_integrity() -> None:
    lock = json.loads((PINNED / "package-lock.json").read_text(encoding="utf-8"))
    packages = [package for name, package in lock["packages"].items() if name]
    assert packages
    assert all(package["integrity"].startswith("sha512-") for package in packages)
    assert not any("resolved" in package for package in packages)


def test_every_type_of_the_package_is_known(tmp_path: Path) -> None:
    """As other people's type checkers see it: nothing is left for them to infer."""
    ended = pyright(
        "--verifytypes", "plugin_framework", "--ignoreexternal", "--outputjson", cwd=tmp_path
    )
    found = json.loads(ended.stdout)["typeCompleteness"]
    lacking = {
        symbol["name"]: [each["message"] for each in symbol["diagnostics"]]
        for symbol in found["symbols"]
        if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]
    }
    assert lacking == {}
    assert found["completenessScore"] == 1
