"""Each rule is broken by a plugin that breaks no other, and kept by one that breaks none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module

import pytest

from plugin_framework.testing.conformance import RULES, Finding, check_plugin, judging_control
from plugin_framework.testing.conformance.case import Case
from plugin_framework.testing.conformance.check import judged
from plugin_framework.testing.conformance.stage import Stage
from tests.testing.conformance.bad.heartbeats import HoldsTheLock
from tests.testing.conformance.bad.lines import Lines

MIB = 1024 * 1024
SAMPLE = b"".join(b"line %d\n" % number for number in range(60_000))  # some blocks of it
IDS = [rule.id for rule in RULES]
# These have runs of their own, up to five: a bad plugin is tried by them where it is theirs.
LONG = {"pause", "resume-after-kill", "hostile-names", "memory", "huge-input"}


SIZES = (4 * MIB, 24 * MIB)


def tried(good: Stage, rule: str) -> list[Finding]:
    """A bad plugin, by the rule that it breaks, and all that look at the same few runs."""
    plugin = import_module(f"tests.testing.conformance.bad.{rule.replace('-', '_')}").Bad
    rules = [each for each in RULES if each.id == rule or each.id not in LONG]
    with Stage(plugin, beside=good) as stage:
        case = Case(stage, samples=[SAMPLE], config={}, sizes=SIZES, grow=None)
        return [judged(each, case) for each in rules]


def outcomes(findings: Iterable[Finding]) -> dict[str, str]:
    return {finding.rule.id: f"{finding.outcome}: {finding.detail}" for finding in findings}


@pytest.fixture(scope="module")
def good() -> Iterator[Stage]:
    with Stage(Lines, grace=3) as stage:
        yield stage


@pytest.fixture(scope="module")
def findings(good: Stage) -> dict[str, list[Finding]]:
    """What came of each bad plugin. The checks wait more than they work."""
    # One of them stops all that goes on in the process.
    others = [rule for rule in IDS if rule != "heartbeats"]
    with ThreadPoolExecutor(3) as pool, pytest.MonkeyPatch.context() as patched:
        patched.setattr(judging_control, "PAUSE_SECONDS", 0.4)
        found = dict(zip(others, pool.map(partial(tried, good), others), strict=True))
    return {**found, "heartbeats": tried(good, "heartbeats")}


@pytest.mark.parametrize("rule", IDS)
def test_a_bad_plugin_breaks_this_rule_alone(rule: str, findings: dict[str, list[Finding]]) -> None:
    broken = [finding.rule.id for finding in findings[rule] if finding.outcome == "failed"]
    assert broken == [rule], outcomes(findings[rule])


def test_a_good_plugin_keeps_every_rule() -> None:
    report = check_plugin(Lines, samples=[SAMPLE], sizes=SIZES, grace=3)
    assert len(report.having("passed")) == len(RULES), outcomes(report.findings)


def test_a_process_of_its_own_may_hold_its_lock(good: Stage) -> None:
    with Stage(HoldsTheLock, beside=good) as stage:
        case = Case(stage, samples=[SAMPLE], config={}, sizes=SIZES, grow=None)
        (rule,) = (rule for rule in RULES if rule.id == "heartbeats")
        finding = judged(rule, case)
    assert finding.outcome == "passed", finding.detail
