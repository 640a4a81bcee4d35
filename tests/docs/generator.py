"""Loads the programs of ``docs``, which find each other as if run from there."""

from __future__ import annotations

import runpy
from typing import Any

import pytest

from tests.docs.markdown import ROOT


def load(program: str) -> dict[str, Any]:
    """What a program defines."""
    folder = ROOT / "docs"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        return runpy.run_path(str(folder / program))
