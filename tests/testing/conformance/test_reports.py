"""The command, the pytest class and the forms of a report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from plugin_framework.cli.check import check_command
from plugin_framework.testing.conformance import RULES, Finding, PluginConformance, Report
from plugin_framework.testing.conformance.live import wait_until
from tests.docs.markdown import ROOT

PAGE = ROOT / "docs" / "how-to" / "check-a-plugin.md"
LINES = "tests.testing.conformance.bad.lines:Lines"
ODD = "tests.testing.conformance.odd:Odd"
BAD = "tests.testing.conformance.bad.counts_add_up:Bad"

REPORT = Report(
    "odd",
    "1",
    (
        Finding(RULES[0], "passed", "1: what it does", 0.5),
        Finding(RULES[1], "failed", "a <b> & \x00 \udc80", 0.25),
        Finding(RULES[2], "not applicable", "there is no sample", 0),
    ),
)


def check(*words: str | Path) -> tuple[int, str, str]:
    command = "from plugin_framework.cli.check import check_command as c; c()"
    ended = subprocess.run(
        [sys.executable, "-c", command, *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_the_command_prints_a_table_and_writes_junit(tmp_path: Path) -> None:
    sample, junit = tmp_path / "sample.txt", tmp_path / "junit.xml"
    sample.write_text("one\ntwo\n")
    chosen = ("--rule", "counts-add-up", "--rule", "progress")
    code, out, err = check(BAD, "--sample", sample, *chosen, "--junit", junit)
    assert (code, err) == (1, "")
    assert "counts-add-up   failed" in " ".join(out.splitlines())
    assert out.endswith("Bad: 1 passed, 1 failed, 0 not applicable\n")
    suite = ET.parse(junit).getroot()[0]
    assert suite.attrib["failures"] == "1"


def test_the_command_prints_json_alone() -> None:
    code, out, err = check(LINES, "--rule", "progress", "--json")
    assert (code, err) == (0, "")
    (finding,) = json.loads(out)["findings"]
    assert finding["outcome"] == "passed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_good_order(number: int, tmp_path: Path) -> None:
    """In the middle of a run, at which the plugin says that it has begun."""
    config = json.dumps({"does": "wait_for_ever", "target": str(tmp_path / "begun")})
    command = [sys.executable, "-m", "plugin_framework", "check", ODD, "--config", config]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert wait_until((tmp_path / "begun").exists)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert out == ""
    assert err.count("\n") == 1
    assert f"stopped by {signal.Signals(number).name}" in err
    assert [path.name for path in tmp_path.iterdir()] == ["begun"]


@pytest.mark.parametrize("words", [["--sample", "no-such-file"], ["--rule"], []])
def test_wrong_usage(words: list[str]) -> None:
    ended = CliRunner().invoke(check_command, [LINES, *words] if words else [])
    assert ended.exit_code == 2


def test_junit_holds_what_xml_can() -> None:
    suites = ET.fromstring(REPORT.as_junit())
    passed, failed, skipped = suites[0]
    assert suites[0].attrib["tests"] == "3"
    assert len(passed) == 0
    assert failed[0].attrib["message"] == "a <b> & \ufffd \ufffd"
    assert RULES[1].mend in (failed[0].text or "")
    assert skipped[0].attrib["message"] == "there is no sample"


def test_json_says_how_to_mend() -> None:
    report: dict[str, Any] = json.loads(json.dumps(REPORT.as_json()))
    assert not report["passed"]
    assert ["mend" in finding for finding in report["findings"]] == [False, True, False]


def test_every_rule_is_a_test_and_is_documented() -> None:
    page = PAGE.read_text("utf-8")
    for rule in RULES:
        test = getattr(PluginConformance, f"test_{rule.id.replace('-', '_')}")
        assert test.__doc__ == f"{rule.title}."
        assert f"| `{rule.id}` | {rule.title}. | {rule.why} |" in page
    assert len({rule.id for rule in RULES}) == len(RULES) == 16


def test_the_class_skips_and_fails_in_words(tmp_path: Path) -> None:
    """Run in a process of its own: a failing test is what is wanted."""
    (tmp_path / "test_it.py").write_text(
        "from plugin_framework.testing.conformance import PluginConformance\n"
        "from tests.testing.conformance.odd import Odd\n"
        "class TestIt(PluginConformance):\n"
        "    plugin = Odd\n"
        "    samples = (b'{}',)\n"
        "    config = {'does': 'take_one_for_the_whole'}\n"
    )
    chosen = "progress or memory or result_is_json"
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider"]
    command += ["-k", chosen, "--rootdir", str(tmp_path), str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "1 failed, 1 passed, 1 skipped" in ended.stdout
    assert "progress: progress ends at 1: it is in percent" in ended.stdout
    assert "Mend: Iterate with ctx.track()" in ended.stdout
    assert "write grow" in ended.stdout
