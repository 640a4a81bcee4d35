"""Codes are unique, stay what they are, and each has a page."""

from __future__ import annotations

import copy
import json
import pickle
import re
from collections import Counter
from pathlib import Path

import pytest

from plugin_framework import errors
from plugin_framework.cli.app import problem_lines
from plugin_framework.cli.explain import page_of, title_of
from plugin_framework.errors import (
    Code,
    ConfigurationError,
    DatahubError,
    PluginError,
    Problem,
    SettingsError,
    TaskCancelled,
    problem_of,
)
from tests.cli.calling import PLUGINS, call

KNOWN = Path(__file__).with_name("error_codes.txt")
KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, BaseException)
]
TEXTS = Path(errors.__file__).parent / "cli" / "explain" / "texts"


def test_a_code_that_was_given_keeps_its_meaning_for_good() -> None:
    """A cause that is no more leaves its line here, with ``gone`` after it."""
    listed = [line.split() for line in KNOWN.read_text(encoding="utf-8").splitlines()]
    assert [code for code, count in Counter(line[0] for line in listed).items() if count > 1] == []
    known = {line[0]: line[1] for line in listed if line[2:] != ["gone"]}
    now = {code.value: code.name for code in Code}
    assert now == known, f"tell what is new, or gone, in {KNOWN.name}; change and reuse nothing"


def test_no_two_causes_share_a_code() -> None:
    assert len(Code) == len(Code.__members__)
    assert all(re.fullmatch(r"DH-\d{3}", code) for code in Code)
    assert list(Code) == sorted(Code)


@pytest.mark.parametrize("code", Code)
def test_each_code_has_a_remedy_in_one_line_and_a_page(code: Code) -> None:
    assert code.remedy.strip() == code.remedy
    assert code.remedy.endswith(".")
    assert "\n" not in code.remedy
    page = page_of(code)
    assert page.startswith(f"# {code}: {title_of(code)}\n")
    assert code.remedy in page
    headings = re.findall("^## (.*)$", page, re.MULTILINE)
    assert headings == ["What you see", "What to do"]


def test_there_is_no_text_without_a_code() -> None:
    assert {path.stem for path in TEXTS.iterdir()} == set(Code)


def test_pages_speak_of_their_own_code_alone() -> None:
    for code in Code:
        assert set(re.findall(r"DH-\d{3}", page_of(code))) == {code}


@pytest.mark.parametrize("kind", KINDS)
def test_each_error_class_has_a_code(kind: type[DatahubError]) -> None:
    error = kind.__new__(kind)
    assert error.code in Code
    assert error.remedy == error.code.remedy


def test_only_groups_of_errors_share_the_code_of_what_they_derive_from() -> None:
    without = {kind.__name__ for kind in KINDS if "code" not in vars(kind)}
    assert without == {
        *("RetryableError", "FinalError", "TaskCancelled"),
        *("ClusterError", "ClusterConfigurationError"),
    }


def test_a_finer_code_can_be_given_where_an_error_is_raised() -> None:
    error = SettingsError("X is not set", code=Code.SETTING_MISSING)
    assert (error.code, SettingsError.code) == ("DH-101", "DH-102")
    assert error.problems[0].code is Code.SETTING_MISSING


def test_problems_keep_their_codes_when_they_are_told_together() -> None:
    first = Problem("X is not set", Code.SETTING_MISSING)
    error = ConfigurationError([first, "--port 7: taken"])
    assert [problem.code for problem in problem_lines(error)] == ["DH-101", "DH-103"]
    assert str(error) == "X is not set\n--port 7: taken"


def test_a_problem_is_its_line_wherever_it_goes() -> None:
    line = Problem("a: b", Code.USAGE)
    for same in (copy.deepcopy(line), pickle.loads(pickle.dumps(line))):
        assert same == "a: b"
        assert same.code is Code.USAGE
    assert json.dumps([line, line.code]) == '["a: b", "DH-100"]'


def test_an_error_of_somebody_else_is_the_plugins() -> None:
    assert problem_of(ZeroDivisionError(), "line").code is Code.TASK_FAILED
    assert problem_of(PluginError("no"), "line").code is Code.PLUGIN_SAID_NO
    assert problem_of(TaskCancelled(), "line").code is Code.CANCELLED


@pytest.mark.parametrize("given", ["DH-101", "dh-101", "101", "[DH-101]", "DH101"])
def test_explain_prints_the_page(given: str, tmp_path: Path) -> None:
    ended = call("explain", given, cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == page_of(Code.SETTING_MISSING)


def test_explain_without_a_code_lists_them_all(tmp_path: Path) -> None:
    listed = call("explain", cwd=tmp_path).out.splitlines()
    assert listed == [f"{code}  {title_of(code)}" for code in Code]


@pytest.mark.parametrize("given", ["DH-999", "nonsense", ""])
def test_explain_refuses_what_is_no_code(given: str, tmp_path: Path) -> None:
    ended = call("explain", given, cwd=tmp_path)
    (told,) = ended.problems
    assert f"there is no code {given!r}" in told
    assert (ended.code, ended.codes) == (2, ["DH-100"])


def test_the_command_ends_each_problem_with_its_code(tmp_path: Path) -> None:
    (tmp_path / "input").touch()
    ended = call("run", "no-such-plugin", "--local", "input", "--out", "o", cwd=tmp_path)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert json.loads(ended.err)["code"] == "DH-120"
    assert call("info", "no-such-plugin", cwd=tmp_path).err.endswith(" [DH-120]\n")


def test_problems_of_different_causes_have_each_its_code(tmp_path: Path) -> None:
    ended = call("run", "--subtask-id", "s-1", "--set", "nonsense", cwd=tmp_path)
    assert ended.codes == ["DH-101", "DH-131", "DH-101"]


@pytest.mark.parametrize(
    ("plugin", "code", "reason"),
    [
        ("Fails", "DH-502", "half a "),
        ("Raises", "DH-501", "ValueError: a bug at "),
        ("RaisesThread", "DH-501", "ValueError: a bug at "),
    ],
)
def test_the_log_line_of_a_failed_task_has_its_code_and_its_reason_has_not(
    plugin: str, code: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "input").touch()
    name = f"{PLUGINS}:{plugin}"
    ended = call("run", name, "--local", "input", "--out", "o", cwd=tmp_path)
    assert ended.code == 1
    assert ended.outcome["error"].startswith(reason)
    assert "DH-" not in ended.outcome["error"]
    (line,) = [line for line in ended.log if " failed: " in line["message"]]
    assert line["code"] == code
    assert "DH-" not in line["message"]
