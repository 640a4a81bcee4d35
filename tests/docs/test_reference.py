"""The reference pages are what the code says, and leave nothing out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest

import plugin_framework
from plugin_framework import errors, testing
from plugin_framework.cli.app import app
from plugin_framework.journal.journal import Journal
from plugin_framework.plugin.hookspecs import OBSERVER_HOOKS, TASK_HOOKS
from plugin_framework.service.backlog import Backlog
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


def test_every_option_says_what_it_does(generated: dict[str, Any]) -> None:
    page = _text("command.md")
    for context in generated["contexts"]():
        _, _, section = page.partition(f"\n## {context.command_path}\n")
        section = section.partition("\n## ")[0] or page
        for parameter in context.command.get_params(context):
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert parameter.help, (context.command_path, parameter.name)
                names = [*parameter.opts, *parameter.secondary_opts]
                assert [name for name in names if name not in section] == []


def test_every_exit_code_is_documented(generated: dict[str, Any]) -> None:
    """Those that the help of a command names; beside 0 and 2, there are no others."""
    _, _, section = _text("command.md").partition("## Exit codes")
    for context in generated["contexts"]():
        path, codes = context.command_path, generated["exit_codes"](context.command)
        if path == "datahub-plugin run":
            assert [code for code in codes if f"\n| {code} | " not in section] == []
        else:
            assert [code for code in codes if f"| `{path}` | {code} | " not in section] == []
    assert "| `datahub-plugin journal deliver` | 75 | " in section


def test_every_metric_and_label_is_documented(generated: dict[str, Any]) -> None:
    page = _text("metrics.md")
    listed = list(generated["metrics"]())
    assert {"datahub_subtasks", "datahub_subtasks_ended_total"} <= {name for name, *_ in listed}
    for name, _, labels, meaning in listed:
        assert f"| `{name}` | " in page
        assert meaning
        assert set(labels) <= set(generated["LABELS"])


def test_the_states_of_subtasks_are_those_that_the_service_counts(
    generated: dict[str, Any], tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal.db")
    backlog = Backlog(journal.queue, ["p"], limit=10, on_ended=lambda: None)
    counted = set(backlog.counts())
    backlog.close()
    journal.close()
    assert set(re.findall(r"`(\w+)`", generated["LABELS"]["state"])) == counted


def test_every_public_name_is_documented() -> None:
    pages = _text("context.md") + _text("errors.md")
    assert [name for name in plugin_framework.__all__ if not _has_entry(name, pages)] == []


def test_every_name_of_the_test_kit_is_documented(generated: dict[str, Any]) -> None:
    page = _text("testing.md")
    assert [name for name in testing.__all__ if not _has_entry(name, page)] == []
    fixtures = [name for name, *_ in generated["fixtures"]()]
    assert {"datahub", "run_plugin", "clock"} <= set(fixtures)
    assert [name for name in fixtures if not _has_entry(name, page)] == []


def _has_entry(name: str, page: str) -> bool:
    return bool(re.search(rf"^#+ {name}$|^\| `{name}` \|", page, re.MULTILINE))


def test_every_error_is_in_the_tree_and_on_its_page(generated: dict[str, Any]) -> None:
    tree = errors.__doc__ or ""
    names = set(generated["error_classes"]())
    assert {name.lower() for name in names} <= anchors(REFERENCE / "errors.md")
    assert [name for name in names if not re.search(rf"\b{name}\b", tree)] == []
