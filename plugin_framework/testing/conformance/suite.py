"""The rules as tests: subclass ``PluginConformance`` in a plugin's own tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from plugin_framework.plugin.base import DatahubPlugin
from plugin_framework.testing.conformance.case import Case, open_case
from plugin_framework.testing.conformance.catalogue import RULES
from plugin_framework.testing.conformance.check import judged
from plugin_framework.testing.conformance.samples import SIZES, grown
from plugin_framework.testing.conformance.stage import GRACE_SECONDS, TRIAL_SECONDS

_BY_ID = {rule.id: rule for rule in RULES}


class PluginConformance:
    """One test for each rule. A rule that cannot be tried is skipped, with the reason.

    Class attributes:
        plugin: the plugin's class.
        samples: inputs that it takes, as files or as their bytes; else the suite tries its own.
        config: of all runs.
        sizes: bytes of the two inputs by which memory is judged; the larger is the huge one.
        grace: seconds that a task may take to end once it is cancelled.
        limit: seconds that a task may take at all.
    """

    plugin: ClassVar[type[DatahubPlugin]]
    samples: ClassVar[Sequence[Path | str | bytes]] = ()
    config: ClassVar[Mapping[str, Any]] = {}
    sizes: ClassVar[tuple[int, int]] = SIZES
    grace: ClassVar[float] = GRACE_SECONDS
    limit: ClassVar[float] = TRIAL_SECONDS

    def __init_subclass__(cls) -> None:
        """See that what pytest is about to collect has a plugin."""
        super().__init_subclass__()
        collected = cls.__name__.startswith("Test") and getattr(cls, "__test__", True)
        if collected and not hasattr(cls, "plugin"):
            raise pytest.Collector.CollectError(
                f"{cls.__name__} says no plugin to try: write `plugin = MyPlugin` in it"
            )

    @classmethod
    def grow(cls, sample: Path, size: int, folder: Path) -> Path | None:
        """Make an input of about ``size`` bytes out of a sample, in ``folder``.

        Text of lines is repeated, a table's header left out. Override it for other formats; None
        if there is no such input.
        """
        return grown(sample, size, folder)

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> Iterator[Case]:
        """The plugin on trial: what one rule's runs have shown, the next need not run again."""
        with open_case(
            cls.plugin,
            samples=cls.samples,
            config=cls.config,
            sizes=cls.sizes,
            grow=cls.grow,
            grace=cls.grace,
            limit=cls.limit,
        ) as case:
            yield case

    def test_version_and_description(self, case: Case) -> None:
        """The plugin says what it does, and which version it is."""
        _keeps("version-and-description", case)

    def test_config_schema(self, case: Case) -> None:
        """Its config has a JSON Schema, and takes its own values."""
        _keeps("config-schema", case)

    def test_result_is_json(self, case: Case) -> None:
        """Every sample gives a result that can be sent."""
        _keeps("result-is-json", case)

    def test_counts_add_up(self, case: Case) -> None:
        """The total is the sum of successes and failures."""
        _keeps("counts-add-up", case)

    def test_progress(self, case: Case) -> None:
        """It says how far it is."""
        _keeps("progress", case)

    def test_heartbeats(self, case: Case) -> None:
        """Datahub hears of it all the time."""
        _keeps("heartbeats", case)

    def test_cancel(self, case: Case) -> None:
        """A cancel ends it soon, and in good order."""
        _keeps("cancel", case)

    def test_pause(self, case: Case) -> None:
        """A pause holds all of its work."""
        _keeps("pause", case)

    def test_resume_after_kill(self, case: Case) -> None:
        """Killed, it completes with the same output at the next attempt."""
        _keeps("resume-after-kill", case)

    def test_empty_input(self, case: Case) -> None:
        """An empty input completes, or is refused in words."""
        _keeps("empty-input", case)

    def test_hostile_names(self, case: Case) -> None:
        """What the input is called makes no difference."""
        _keeps("hostile-names", case)

    def test_memory(self, case: Case) -> None:
        """Its memory does not grow with the input."""
        _keeps("memory", case)

    def test_huge_input(self, case: Case) -> None:
        """A huge input completes, or is refused in words."""
        _keeps("huge-input", case)

    def test_stays_in_work_dir(self, case: Case) -> None:
        """It writes only where it may."""
        _keeps("stays-in-work-dir", case)

    def test_no_secret_in_logs(self, case: Case) -> None:
        """It tells no secret."""
        _keeps("no-secret-in-logs", case)

    def test_no_orphan(self, case: Case) -> None:
        """No process outlives its work."""
        _keeps("no-orphan", case)


def _keeps(rule_id: str, case: Case) -> None:
    __tracebackhide__ = True
    finding = judged(_BY_ID[rule_id], case)
    if finding.outcome == "not applicable":
        pytest.skip(finding.in_words())
    if finding.outcome == "failed":
        pytest.fail(finding.in_words(), pytrace=False)
