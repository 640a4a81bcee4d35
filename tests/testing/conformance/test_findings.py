"""What single rules see, in a plugin that is odd in one way or the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from plugin_framework.errors import ConfigurationError
from plugin_framework.testing.conformance import RULES, Finding, check_plugin
from plugin_framework.testing.conformance.case import Case
from plugin_framework.testing.conformance.check import judged
from plugin_framework.testing.conformance.samples import SIZES
from plugin_framework.testing.conformance.stage import Stage
from tests.testing.conformance.bad.lines import Lines
from tests.testing.conformance.odd import Odd

SAMPLE = b"one\ntwo\nthree\n"
BY_ID = {rule.id: rule for rule in RULES}


class Freezes(Odd):
    """Is stopped where it is."""

    pause_mode: ClassVar[Literal["checkpoint", "freeze"]] = "freeze"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(Odd) as stage:
        yield stage


def case_of(stage: Stage, does: str = "nothing", **options: Any) -> Case:
    config = {"does": does, **options.pop("config", {})}
    options = {"samples": [SAMPLE], "sizes": SIZES, "grow": None, **options}
    return Case(stage, config=config, **options)


def found(stage: Stage, rule: str, does: str = "nothing", **options: Any) -> Finding:
    return judged(BY_ID[rule], case_of(stage, does, **options))


@pytest.mark.parametrize(
    ("does", "rule", "told"),
    [
        ("come_to_no_checkpoint", "pause", "comes to no checkpoint"),
        ("come_to_no_checkpoint", "cancel", "comes to no checkpoint"),
        ("come_to_no_checkpoint", "progress", "never says how far"),
        ("come_to_no_checkpoint", "counts-add-up", "success_counts is True"),
        ("take_one_for_the_whole", "progress", "in percent"),
        ("take_one_for_the_whole", "counts-add-up", "total_counts is missing"),
        ("fall_back", "progress", "falls back"),
        ("refuse", "result-is-json", "is refused: this is no such file"),
        ("crash", "result-is-json", "exited with code 7"),
        ("crash", "empty-input", "exited with code 7"),
        ("fail_after_cancel", "cancel", "LookupError: no such table"),
        ("have_a_shell_run_it", "hostile-names", "a shell ran what stands in the name"),
        ("print_the_environment", "no-secret-in-logs", "of its environment is in the log"),
        ("have_a_program_write", "stays-in-work-dir", "left-here in the current folder"),
        ("tell_the_password", "no-secret-in-logs", "the value of password is in the result"),
        ("forget_counts", "resume-after-kill", "it counts (1, 1, 0), and undisturbed (3, 3, 0)"),
        ("expect_no_folder", "resume-after-kill", "the next attempt failed: "),
        ("leave_a_line_out", "resume-after-kill", "other contents in the output 'copy.txt'"),
    ],
)
def test_broken(stage: Stage, does: str, rule: str, told: str) -> None:
    finding = found(stage, rule, does)
    assert finding.outcome == "failed"
    assert told in finding.detail
    assert finding.rule.mend in finding.in_words()


@pytest.mark.parametrize(
    ("does", "rule"),
    [
        ("refuse", "empty-input"),
        ("run_a_command", "no-orphan"),
        ("use_temporary_files", "stays-in-work-dir"),
        ("come_to_no_checkpoint", "resume-after-kill"),
    ],
)
def test_kept(stage: Stage, does: str, rule: str) -> None:
    finding = found(stage, rule, does)
    assert finding.outcome == "passed", finding.detail


def test_contents_that_always_differ_are_not_compared(stage: Stage) -> None:
    finding = found(stage, "resume-after-kill", "stamp_the_time")
    assert finding.outcome == "passed"
    assert finding.detail.endswith(
        "; contents could not be compared: two undisturbed runs differ, too, in stamp.txt"
    )


def test_a_file_anywhere_is_found(stage: Stage, tmp_path: Path) -> None:
    config = {"target": str(tmp_path / "a")}
    finding = found(stage, "stays-in-work-dir", "write_to_the_target", config=config)
    assert finding.detail == f"it writes outside its work folder: {tmp_path / 'a'}"


def test_a_secret_that_the_config_gives_is_looked_for(stage: Stage) -> None:
    config = {"password": "correct horse"}
    finding = found(stage, "no-secret-in-logs", "tell_the_password", config=config)
    assert finding.outcome == "failed"


@pytest.mark.parametrize("rule", ["cancel", "memory", "counts-add-up"])
def test_what_needs_a_sample_says_so(stage: Stage, rule: str) -> None:
    finding = found(stage, rule, "refuse", samples=[])
    assert finding.outcome == "not applicable"
    assert "see result-is-json" in finding.detail


def test_samples_are_asked_for(stage: Stage) -> None:
    finding = found(stage, "result-is-json", "refuse", samples=[])
    assert finding.outcome == "not applicable"
    assert "give one that it takes: --sample FILE" in finding.detail


def test_what_cannot_be_made_larger_is_said(stage: Stage) -> None:
    finding = found(stage, "memory", samples=[b'{"a": [1, 2]}'])
    assert finding.outcome == "not applicable"
    assert "write grow" in finding.detail


def test_what_takes_too_long_is_said(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    case = case_of(stage, sizes=(1024, 256 * 1024 * 1024))
    assert case.plain.completed
    monkeypatch.setattr(stage, "limit", 0.05)
    finding = judged(BY_ID["huge-input"], case)
    assert finding.outcome == "not applicable"
    assert "choose smaller sizes" in finding.detail


def test_a_frozen_plugin_needs_no_checkpoint(stage: Stage) -> None:
    with Stage(Freezes, beside=stage) as frozen:
        finding = found(frozen, "pause", "come_to_no_checkpoint")
    assert finding.outcome == "passed", finding.detail


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"rules": ["pauze"]}, "did you mean pause"),
        ({"samples": ["no-such-file"]}, "the sample no-such-file cannot be read"),
        ({"config": {"least": 1}}, "there is no such key"),
    ],
)
def test_what_cannot_be_used_is_said(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        check_plugin(Lines, **options)
