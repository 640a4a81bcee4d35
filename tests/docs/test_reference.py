"""The reference pages are what the code says, and leave nothing out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import plugin_framework
from plugin_framework import errors
from plugin_framework.cli.app import app
from plugin_framework.plugin.hookspecs import OBSERVER_HOOKS, TASK_HOOKS
from plugin_framework.settings import describe_settings
from tests.cli.calling import call
from tests.docs.generator import load
from tests.docs.markdown import ROOT, anchors

REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def generated() -> dict[str, Any]:
    return load("generate.py")


def _text(page: str) -> str:
    return (REFERENCE / page).read_text(encoding="utf-8")


def test_the_pages_are_current(generated: dict[str, Any]) -> None:
    stale = [name for name, text in generated["pages"]().items() if text != _text(name)]
    assert stale == [], "run make docs"


def test_every_setting_is_documented() -> None:
    page = _text("settings.md")
    assert [row.variable for row in describe_settings() if f"`{row.variable}`" not in page] == []
    assert all(row.meaning and row.expected for row in describe_settings())


def test_every_hook_is_documented() -> None:
    assert {*TASK_HOOKS, *OBSERVER_HOOKS} <= anchors(REFERENCE / "hooks.md")


def test_every_command_is_documented() -> None:
    assert {f"datahub-plugin-{name}" for name in app.commands} <= anchors(REFERENCE / "command.md")


def test_the_help_is_what_the_command_says(generated: dict[str, Any], tmp_path: Path) -> None:
    page = _text("command.md")
    paths = [context.command_path for context in generated["contexts"]()]
    assert "datahub-plugin journal prune" in paths
    for _, *words in map(str.split, paths):
        said = call(*words, "--help", cwd=tmp_path, env={"COLUMNS": "80"})
        assert f"```text\n{said.out}```" in page


def test_the_exit_codes_are_those_that_the_help_names(generated: dict[str, Any]) -> None:
    _, _, codes = (app.commands["run"].help or "").partition("Exit codes:")
    named = {int(code) for code in re.findall(r"^ +(\d+) ", codes, re.MULTILINE)}
    assert named == set(generated["EXIT_CODES"])


def test_every_public_name_is_documented() -> None:
    pages = _text("context.md") + _text("errors.md")
    missing = [
        name
        for name in plugin_framework.__all__
        if not re.search(rf"^#+ {name}$|^\| `{name}` \|", pages, re.MULTILINE)
    ]
    assert missing == []


def test_every_error_is_in_the_tree_and_on_its_page(generated: dict[str, Any]) -> None:
    tree = errors.__doc__ or ""
    names = set(generated["error_classes"]())
    assert {name.lower() for name in names} <= anchors(REFERENCE / "errors.md")
    assert [name for name in names if not re.search(rf"\b{name}\b", tree)] == []
