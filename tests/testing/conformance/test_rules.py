"""Each rule is broken by a plugin that breaks no other, and kept by one that breaks none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import pytest

from plugin_framework import DatahubPlugin
from plugin_framework.testing.conformance import RULES, Report, check_plugin, judging_control
from tests.testing.conformance.bad.heartbeats import HoldsTheLock
from tests.testing.conformance.bad.lines import Lines

MIB = 1024 * 1024
SAMPLE = b"".join(b"line %d\n" % number for number in range(60_000))  # some blocks of it
IDS = [rule.id for rule in RULES]
# These have runs of their own, up to five: a bad plugin is tried by them where it is theirs.
LONG = {"pause", "resume-after-kill", "hostile-names", "memory", "huge-input"}


def checked(plugin: type[DatahubPlugin], *rules: str) -> Report:
    sizes = (4 * MIB, 24 * MIB)
    return check_plugin(plugin, samples=[SAMPLE], rules=rules, sizes=sizes, grace=3)


def tried(rule: str, plugin: type[DatahubPlugin]) -> Report:
    """By the rule that it breaks, and all that look at the same few runs."""
    return checked(plugin, *(each for each in IDS if each == rule or each not in LONG))


def outcomes(report: Report) -> dict[str, str]:
    return {finding.rule.id: f"{finding.outcome}: {finding.detail}" for finding in report.findings}


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    """What came of each bad plugin. The checks wait more than they work."""
    plugins = {
        rule: import_module(f"tests.testing.conformance.bad.{rule.replace('-', '_')}").Bad
        for rule in IDS
    }
    # This one stops all that goes on in the process.
    held = plugins.pop("heartbeats")
    with ThreadPoolExecutor(3) as pool, pytest.MonkeyPatch.context() as patched:
        patched.setattr(judging_control, "PAUSE_SECONDS", 0.4)
        found = dict(zip(plugins, pool.map(tried, plugins, plugins.values()), strict=True))
    return {**found, "heartbeats": tried("heartbeats", held)}


@pytest.mark.parametrize("rule", IDS)
def test_a_bad_plugin_breaks_this_rule_alone(rule: str, reports: dict[str, Report]) -> None:
    broken = [finding.rule.id for finding in reports[rule].having("failed")]
    assert broken == [rule], outcomes(reports[rule])


def test_a_good_plugin_keeps_every_rule() -> None:
    report = checked(Lines)
    assert len(report.having("passed")) == len(RULES), outcomes(report)


def test_a_process_of_its_own_may_hold_its_lock() -> None:
    (finding,) = checked(HoldsTheLock, "heartbeats").findings
    assert finding.outcome == "passed", finding.detail
