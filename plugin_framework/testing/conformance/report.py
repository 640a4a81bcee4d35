"""What came of all rules, as a table, as JSON and as JUnit XML."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree as ET

from plugin_framework.testing.conformance.rule import Rule

if TYPE_CHECKING:
    from rich.table import Table

Outcome = Literal["passed", "failed", "not applicable"]

_MARKS = {"passed": "[green]passed", "failed": "[bold red]failed", "not applicable": "[yellow]n/a"}
# XML has no way to write these.
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one rule: ``detail`` is what was seen, or why it could not be tried."""

    rule: Rule
    outcome: Outcome
    detail: str
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The finding as ``datahub-plugin check --json`` prints it."""
        found: dict[str, Any] = {
            "rule": self.rule.id,
            "title": self.rule.title,
            "outcome": self.outcome,
            "detail": self.detail,
            "seconds": round(self.seconds, 3),
        }
        if self.outcome == "failed":
            found |= {"why": self.rule.why, "mend": self.rule.mend}
        return found

    def in_words(self) -> str:
        """Everything that an author needs to know of it."""
        told = f"{self.rule.id}: {self.detail}"
        if self.outcome != "failed":
            return told
        return f"{told}\n\nWhy: {self.rule.why}\nMend: {self.rule.mend}"


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a plugin's check."""

    plugin: str
    version: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether no rule failed."""
        return not self.having("failed")

    def having(self, outcome: Outcome) -> list[Finding]:
        """The findings of that outcome."""
        return [finding for finding in self.findings if finding.outcome == outcome]

    @property
    def summary(self) -> str:
        """One line."""
        outcomes: tuple[Outcome, ...] = ("passed", "failed", "not applicable")
        counted = ", ".join(f"{len(self.having(one))} {one}" for one in outcomes)
        return f"{self.plugin}: {counted}"

    def as_json(self) -> dict[str, Any]:
        """The report as plain JSON."""
        return {
            "plugin": self.plugin,
            "version": self.version,
            "passed": self.passed,
            "findings": [finding.as_json() for finding in self.findings],
        }

    def as_junit(self) -> str:
        """The report as JUnit XML: a test case for each rule."""
        suite = ET.Element(
            "testsuite",
            name=f"conformance of {_writable(self.plugin)}",
            tests=str(len(self.findings)),
            failures=str(len(self.having("failed"))),
            errors="0",
            skipped=str(len(self.having("not applicable"))),
            time=f"{sum(finding.seconds for finding in self.findings):.3f}",
        )
        for finding in self.findings:
            _add_case(suite, self.plugin, finding)
        suites = ET.Element("testsuites")
        suites.append(suite)
        ET.indent(suites)
        return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"

    def as_table(self) -> Table:
        """The report for a terminal."""
        from rich import box  # noqa: PLC0415 - loaded late
        from rich.table import Table  # noqa: PLC0415 - loaded late
        from rich.text import Text  # noqa: PLC0415 - loaded late

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("rule", no_wrap=True)
        table.add_column("outcome", no_wrap=True)
        table.add_column("what was seen", overflow="fold")
        for finding in self.findings:
            told = Text(finding.detail)
            if finding.outcome == "failed":
                told.append(f"\n{finding.rule.mend}", style="dim")
            table.add_row(finding.rule.id, _MARKS[finding.outcome], told)
        return table


def _add_case(suite: ET.Element, plugin: str, finding: Finding) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        classname=f"conformance.{_writable(plugin)}",
        name=finding.rule.id,
        time=f"{finding.seconds:.3f}",
    )
    if finding.outcome == "failed":
        failure = ET.SubElement(case, "failure", message=_writable(finding.detail))
        failure.text = _writable(finding.in_words())
    elif finding.outcome == "not applicable":
        ET.SubElement(case, "skipped", message=_writable(finding.detail))


def _writable(text: str) -> str:
    return _UNWRITABLE.sub("\ufffd", text)
