"""Tries a plugin by the rules."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from plugin_framework.plugin.base import DatahubPlugin
from plugin_framework.testing.conformance.case import Case, open_case
from plugin_framework.testing.conformance.catalogue import rules_called
from plugin_framework.testing.conformance.report import Finding, Outcome, Report
from plugin_framework.testing.conformance.rule import Broken, NotApplicable, Rule
from plugin_framework.testing.conformance.samples import SIZES, Grow
from plugin_framework.testing.conformance.stage import GRACE_SECONDS, TRIAL_SECONDS


def check_plugin(
    plugin: type[DatahubPlugin] | str,
    *,
    samples: Sequence[Path | str | bytes] = (),
    config: Mapping[str, Any] | None = None,
    rules: Iterable[str] | None = None,
    sizes: tuple[int, int] = SIZES,
    grow: Grow | None = None,
    grace: float = GRACE_SECONDS,
    limit: float = TRIAL_SECONDS,
    on_finding: Callable[[Finding], object] = lambda _finding: None,
) -> Report:
    """Try a plugin by the rules, in runs against a local Datahub.

    ``plugin`` is a class, or what ``datahub-plugin run`` takes. Without ``samples`` the suite tries
    some of its own; ``config`` is that of all runs. ``rules`` are ids; all without them. ``sizes``
    are the bytes of the two inputs by which memory is judged, which ``grow`` makes of a sample.
    ``grace`` and ``limit`` are the seconds that a task may take to end once it is cancelled, and
    to run at all. ``on_finding`` is told of each rule as it is judged.

    Raises:
        ConfigurationError: the plugin, a sample, a rule's id or the config cannot be used.
    """
    chosen = rules_called(rules)
    with open_case(
        plugin, samples=samples, config=config, sizes=sizes, grow=grow, grace=grace, limit=limit
    ) as case:
        findings = []
        for rule in chosen:
            findings.append(judged(rule, case))
            on_finding(findings[-1])
        version = case.plugin.version or case.ref.version
        return Report(case.ref.name, version, tuple(findings))


def judged(rule: Rule, case: Case) -> Finding:
    """What comes of one rule."""
    started = time.monotonic()
    outcome: Outcome = "passed"
    try:
        detail = rule.judge(case)
    except Broken as broken:
        outcome, detail = "failed", str(broken)
    except NotApplicable as reason:
        outcome, detail = "not applicable", str(reason)
    return Finding(rule, outcome, detail, time.monotonic() - started)
