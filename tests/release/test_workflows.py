"""What runs where the code is hosted runs no unknown code and is trusted with little."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types of its own

from release.pins import CONSTRAINTS
from release.pythons import VERSIONS

ROOT = CONSTRAINTS.parent
FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
JOBS = {
    (path.stem, name): job
    for path in FILES
    for name, job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].items()
}


def _zizmor(path: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("zizmor")
    arguments = ["--offline", "--pedantic", "--strict-collection", "--no-config", "--no-progress"]
    command = [str(program), *arguments, str(path)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def _steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for (file, name), job in JOBS.items():
        for step in job["steps"]:
            yield f"{file}.{name}", step


def _ran(file: str) -> str:
    found = (step.get("run", "") for name, step in _steps() if name.startswith(f"{file}."))
    return "\n".join(found)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_zizmor_finds_nothing(path: Path) -> None:
    found = _zizmor(path)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    ("good", "bad", "finding"),
    [
        (r"@[0-9a-f]{40}", "@v7", "unpinned-uses"),
        (r"\n +with:\n +persist-credentials: false", "", "artipacked"),
        (r"permissions: \{\}", "permissions: write-all", "excessive-permissions"),
        (r"run: make audit", "run: echo ${{ github.event.pull_request.title }}", "template-inj"),
    ],
)
def test_zizmor_finds_what_is_wrong(tmp_path: Path, good: str, bad: str, finding: str) -> None:
    path = tmp_path / ".github/workflows/ci.yml"
    path.parent.mkdir(parents=True)
    text = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    path.write_text(re.sub(good, bad, text, count=1))
    found = _zizmor(path)
    assert found.returncode != 0
    assert finding in found.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_action_is_a_commit_and_says_of_which_release(path: Path) -> None:
    used = re.findall(r"uses: *(.*)", path.read_text(encoding="utf-8"))
    pattern = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert used
    assert [one for one in used if not pattern.fullmatch(one)] == []


def test_an_action_has_one_commit_in_all_files() -> None:
    used = {step["uses"] for _, step in _steps() if "uses" in step}
    assert len({one.partition("@")[0] for one in used}) == len(used)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_secret_is_used(path: Path) -> None:
    assert "secrets." not in path.read_text(encoding="utf-8")


def test_who_may_do_more_than_read() -> None:
    more = {
        name: {right for right, level in job["permissions"].items() if level == "write"}
        for (_, name), job in JOBS.items()
        if "write" in job["permissions"].values()
    }
    assert more == {
        "attest": {"id-token", "attestations"},
        "publish": {"id-token"},
        "announce": {"contents"},
    }


def test_who_may_sign_runs_actions_alone() -> None:
    """Neither our code nor that of a dependency is there."""
    for name in ("attest", "publish"):
        steps = JOBS["release", name]["steps"]
        assert [step for step in steps if "run" in step or "checkout" in step["uses"]] == []


def test_nothing_is_published_before_all_that_checks_it() -> None:
    def before(name: str) -> set[str]:
        needs = JOBS["release", name].get("needs", [])
        first = {needs} if isinstance(needs, str) else set(needs)
        return first.union(*map(before, first))

    assert before("publish") == {"attest", "test", "rebuild", "pythons", "build"}
    assert before("announce") == {*before("publish"), "publish"}


@pytest.mark.parametrize("file", ["ci", "release"])
def test_each_runs_the_tests(file: str) -> None:
    assert JOBS[file, "test"]["steps"][-1]["run"] == "bash .ci/run"


def test_what_is_tried_is_what_is_published() -> None:
    """The artifact, and no wheel that a job built for itself."""
    steps = JOBS["release", "pythons"]["steps"]
    got = next(step["with"] for step in steps if "/download-artifact@" in step.get("uses", ""))
    assert got == {"name": "dist", "path": "dist"}
    made = [step["run"] for step in steps if "run" in step]
    assert made == [
        "make setup PYTHON=python3.11",
        '.venv/bin/python -m release.pythons dist/*.whl "$VERSION"',
    ]


def test_what_changes_do_not_wait_for_is_run_by_the_week() -> None:
    """The long tests, and those of many machines, which ``make test`` leaves out."""
    text = (ROOT / ".github/workflows/long.yml").read_text(encoding="utf-8")
    when = yaml.safe_load(text)[True]  # YAML 1.1 reads the key "on" so
    ((_minute, _hour, day, month, weekday),) = (each["cron"].split() for each in when["schedule"])
    assert (day, month, weekday.isdigit()) == ("*", "*", True)
    assert "workflow_dispatch" in when
    assert _ran("long").split() == ["make", "test-long", "make", "test-cluster"]


def test_what_is_attested_is_what_is_published() -> None:
    attested = {
        step["uses"].partition("@")[0]: step["with"]
        for step in JOBS["release", "attest"]["steps"]
        if "/attest-" in step["uses"]
    }
    assert attested == {
        "actions/attest-build-provenance": {"subject-path": "dist/*"},
        "actions/attest-sbom": {
            "subject-path": "dist/*",
            "sbom-path": "build/sbom.cdx.json",
        },
    }
    *_, publish = JOBS["release", "publish"]["steps"]
    assert publish["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert "with" not in publish  # its defaults: the folder dist, with attestations


@pytest.mark.parametrize("file", ["ci", "release"])
def test_each_is_audited_for_vulnerabilities_and_licences(file: str) -> None:
    made = set(re.findall(r"\b(?:audit|licences|sbom)\b", _ran(file)))
    assert made == {"audit", "licences", "sbom"}


def test_the_audit_is_strict_and_of_every_pin() -> None:
    command = ["make", "--dry-run", "--assume-old=.venv/.ready", "audit"]
    run = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "in constraints/*.txt" in run
    assert {"--strict", "--disable-pip", "--require-hashes", "exit 1"} <= set(
        re.findall(r"--[a-z-]+|exit 1", run)
    )


def test_what_is_made_can_be_made() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
    made = re.findall(r"make(?: -C \S+)? ([a-z -]+)", "\n".join(_ran(path.stem) for path in FILES))
    assert {target for line in made for target in line.split()} <= targets


def test_each_version_of_python_is_tried() -> None:
    for file in ("ci", "release"):
        assert JOBS[file, "pythons"]["strategy"]["matrix"]["python"] == list(VERSIONS)
