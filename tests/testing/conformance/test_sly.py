"""What the rules see in plugins that keep no more than their letter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugin_framework.plugin.base import DatahubPlugin
from plugin_framework.testing.conformance import RULES, Finding
from plugin_framework.testing.conformance.case import Case
from plugin_framework.testing.conformance.check import judged
from plugin_framework.testing.conformance.stage import Stage
from tests.docs.markdown import ROOT
from tests.testing.conformance import sly
from tests.testing.conformance.bad.lines import Lines
from tests.testing.conformance.odd import Odd

pytestmark = pytest.mark.long

MIB = 1024 * 1024
SAMPLE = b"line\n" * 40_000
SIZES = (4 * MIB, 20 * MIB)
BY_ID = {rule.id: rule for rule in RULES}


@pytest.fixture(scope="module")
def good() -> Iterator[Stage]:
    with Stage(Lines, grace=1) as stage:
        yield stage


def found(good: Stage, plugin: type[DatahubPlugin], rule: str, **config: Any) -> Finding:
    with Stage(plugin, beside=good) as stage:
        case = Case(stage, samples=[SAMPLE], config=config, sizes=SIZES, grow=None)
        return judged(BY_ID[rule], case)


@pytest.mark.parametrize(
    ("plugin", "rule", "told"),
    [
        (sly.StopsAtForty, "progress", "progress ends at 40 %; the work is done at 100"),
        (sly.TellsTheEnd, "progress", "does not move: told 1 time, always 100 %"),
        (sly.HoldsHalf, "memory", "memory grows with the input"),
        (sly.SeldomLooks, "cancel", "cancelled after checkpoint 1, from which it takes 2."),
        (sly.MiscountsNothing, "counts-add-up", "empty.txt: total_counts is 1"),
        (sly.NamesNoField, "config-schema", "the form has no words for least: give a title"),
    ],
)
def test_broken(good: Stage, plugin: type[DatahubPlugin], rule: str, told: str) -> None:
    finding = found(good, plugin, rule)
    assert finding.outcome == "failed", finding.detail
    assert told in finding.detail


def test_a_buffer_may_fill(good: Stage) -> None:
    finding = found(good, sly.FillsABuffer, "memory")
    assert finding.outcome == "passed", finding.detail
    assert finding.detail.count("for an input of") == 3


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("touch ~/notes", "notes in the home folder"),
        ("mkdir -p ~/.config/it; touch ~/.config/it/settings", ".config/it/settings in the home"),
        ('mkdir -p "$XDG_DATA_HOME/it"; touch "$XDG_DATA_HOME/it/a"', ".local/share/it/a in the"),
    ],
)
def test_what_is_left_at_home_is_found(
    good: Stage, command: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    finding = found(good, sly.Writes, "stays-in-work-dir", command=command)
    assert finding.outcome == "failed"
    assert told in finding.detail
    assert list(tmp_path.iterdir()) == []


def test_a_cache_may_be_kept(good: Stage) -> None:
    command = 'mkdir -p "$XDG_CACHE_HOME/it" ~/.config/it; touch ~/.cache/it/fonts'
    finding = found(good, sly.Writes, "stays-in-work-dir", command=command)
    assert finding.outcome == "passed", finding.detail


@pytest.mark.parametrize(
    ("tells", "told"),
    [
        ("login", "the value of login.password is in the log"),
        ("keys", "the value of keys is in the log"),
        ("default", "the value of default is in the log"),
        ("refusal", "the value of login.password is in the"),
    ],
)
def test_a_secret_within_is_found(good: Stage, tells: str, told: str) -> None:
    finding = found(good, sly.TellsWhatIsWithin, "no-secret-in-logs", tells=tells)
    assert finding.outcome == "failed"
    assert told in finding.detail


def test_all_secrets_within_are_looked_for(good: Stage) -> None:
    finding = found(good, sly.TellsWhatIsWithin, "no-secret-in-logs")
    assert finding.outcome == "passed"
    assert finding.detail == "secret fields: login.password, keys, default"


def test_secrets_that_cannot_be_tried_are_not_said_to_be(good: Stage) -> None:
    finding = found(good, sly.TakesNoneOfOurs, "no-secret-in-logs")
    assert finding.outcome == "not applicable"
    assert "(password): give them values" in finding.detail


def test_a_class_without_a_plugin_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "from plugin_framework.testing import PluginConformance\n"
        "class Shared(PluginConformance):\n"
        "    grace = 3\n"
        "class TestIt(Shared):\n"
        "    samples = ()\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert "TestIt says no plugin to try: write `plugin = MyPlugin` in it" in ended.stdout
    assert "1 error in" in ended.stdout
    assert "AttributeError" not in ended.stdout


def test_where_junit_goes_is_seen_before_the_rules(tmp_path: Path) -> None:
    """The plugin would say that it has begun."""
    target, begun = tmp_path / "none" / "report.xml", tmp_path / "begun"
    config = f'{{"does": "write_to_the_target", "target": "{begun}"}}'
    command = [sys.executable, "-m", "plugin_framework", "check"]
    command += [f"{Odd.__module__}:Odd", "--config", config, "--junit", str(target)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert f"--junit {target}: No such file" in ended.stderr
    assert not begun.exists()
