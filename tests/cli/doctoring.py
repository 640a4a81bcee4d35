"""What the tests of ``doctor`` share: a case out of an environment, and what checks say of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from plugin_framework.cli.doctor.case import Case
from plugin_framework.cli.doctor.examine import examine
from plugin_framework.cli.doctor.finding import Check, Finding
from plugin_framework.cli.doctor.reading import read


def case_of(
    monkeypatch: pytest.MonkeyPatch, folder: Path, names: Sequence[str] = (), **variables: object
) -> Case:
    """A case with these settings alone, read in a folder of its own."""
    for name in list(os.environ):
        if "DATAHUB" in name.upper() or "proxy" in name.lower() or name == "SSL_CERT_FILE":
            monkeypatch.delenv(name)
    given = {"STATE_DIR": folder / "state", **variables}
    for name, value in given.items():
        monkeypatch.setenv(f"DATAHUB_{name}", str(value))
    monkeypatch.chdir(folder)
    return Case(read(), names)


def said(case: Case, group: Sequence[Check]) -> dict[str, Finding]:
    """What each check of a group says; of several findings, the worst."""
    found: dict[str, Finding] = {}
    worst = ("ok", "skip", "warn", "fail").index
    for one in examine(case, group):
        before = found.get(one.check)
        if before is None or worst(one.level) > worst(before.level):
            found[one.check] = one
    return found


def levels(found: Mapping[str, Finding]) -> dict[str, str]:
    """The levels alone."""
    return {name: one.level for name, one in found.items()}
