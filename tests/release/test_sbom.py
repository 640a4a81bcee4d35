"""The bill of materials is whole, the same each time, and tells nothing of who wrote it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from release import sbom
from release.pins import EXTRAS, RUNTIME, read

OURS = "datahub-plugin-framework"


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(sbom.bill())
    return made


def test_it_has_each_pin_and_its_hashes(bill: dict[str, Any]) -> None:
    listed = {
        (part["name"], part["version"]): sorted(
            found["content"] for found in part["externalReferences"][0]["hashes"]
        )
        for part in bill["components"]
    }
    assert listed == {(pin.name, pin.version): sorted(pin.hashes) for pin in read(EXTRAS)}


def test_it_says_what_every_user_gets(bill: dict[str, Any]) -> None:
    required = {part["name"] for part in bill["components"] if part["scope"] == "required"}
    assert required == {pin.name for pin in read(RUNTIME)}


def test_each_part_has_a_licence(bill: dict[str, Any]) -> None:
    assert [part["name"] for part in bill["components"] if not part.get("licenses")] == []


def test_it_says_why_each_part_is_there(bill: dict[str, Any]) -> None:
    needs = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    reached: set[str] = set()
    left = [OURS]
    while left:
        ref = left.pop()
        if ref not in reached:
            reached.add(ref)
            left += needs[ref]
    assert reached == {OURS, *(part["bom-ref"] for part in bill["components"])}


def test_it_is_the_same_each_time_and_names_no_place(bill: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "sbom.json"
    environment = {**os.environ, "PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-W", "error", "-m", "release.sbom", str(path)]
    subprocess.run(command, check=True, env=environment)
    text = path.read_text()
    assert text == json.dumps(bill, indent=2) + "\n"
    assert set(re.findall(r"\w+://[^/\"]+", text)) == {"http://cyclonedx.org"}  # of the schema
    assert str(Path.home()) not in text
    assert str(tmp_path.parent) not in text


def test_one_that_breaks_the_schema_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sbom, "_without_chance", lambda _: '{"bomFormat": "CycloneDX"}')
    with pytest.raises(ValueError, match="not CycloneDX"):
        sbom.bill()
