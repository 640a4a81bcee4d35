"""What an operator gets wrong: one line for each problem, no traceback, the right exit code."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.calling import PLUGINS, call

LOCAL = ("--local", "input", "--out", "out")
UNREACHABLE = {"DATAHUB_BASE_URL": "http://127.0.0.1:9", "DATAHUB_STARTUP_DEADLINE": "0"}
ECHO = f"{PLUGINS}:Echo"
REMOTE = (ECHO, "--subtask-id", "1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The current folder, with an input."""
    (tmp_path / "input").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--bogus",), "No such option '--bogus'"),
        ((ECHO, "--local", "input"), "--local FILE and --out DIR go together"),
        ((ECHO, "--subtask-id", "a\udcff"), "Invalid value for '--subtask-id'"),
        ((*REMOTE, "--set", "word"), "--set word: expected key=value"),
        ((*REMOTE, "--config", "missing.json"), "the config file missing.json cannot be read (No"),
        ((ECHO, "--local", "missing", "--out", "out"), "the input missing cannot be read (No such"),
        ((ECHO, "--local", ".", "--out", "out"), "the input . cannot be read (it is no regular"),
        ((ECHO, "--local", "pipe", "--out", "out"), "the input pipe cannot be read (it is no"),
        ((ECHO, "--local", "input", "--out", "input"), "the output folder input cannot be written"),
        ((ECHO, "--local", "input", "--out", "/proc/new"), "the output folder /proc/new cannot be"),
    ],
    ids=lambda given: given[:40] if isinstance(given, str) else "",
)
def test_one_problem(arguments: tuple[str, ...], problem: str, folder: Path) -> None:
    ended = call("run", *map(os.fsdecode, arguments), cwd=folder, env=remote(folder))
    assert ended.code == 2
    assert len(ended.problems) == 1
    assert ended.problems[0].startswith(problem)


NO_PLUGIN = "which plugin? Give NAME or set DATAHUB_PLUGIN"
NO_SUBTASK = (
    "which subtask? Give --subtask-id or set DATAHUB_SUBTASK_ID; to try a plugin without a Datahub,"
    " give --local FILE --out DIR"
)
NO_DATAHUB = (
    "DATAHUB_BASE_URL is not set: expected the address of Datahub, such as"
    " https://datahub.example.com"
)


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        ((), [NO_PLUGIN, NO_SUBTASK, NO_DATAHUB]),
        (
            ("--set", "word"),
            [NO_PLUGIN, NO_SUBTASK, "--set word: expected key=value", NO_DATAHUB],
        ),
        ((ECHO,), [NO_SUBTASK, NO_DATAHUB]),
        (REMOTE, [NO_DATAHUB]),
        (LOCAL, [NO_PLUGIN]),
    ],
)
def test_all_that_is_missing_is_said_at_once(
    arguments: tuple[str, ...], problems: list[str], folder: Path
) -> None:
    ended = call("run", *arguments, cwd=folder)
    assert ended.code == 2
    assert ended.problems == problems


@pytest.mark.parametrize(
    ("plugin", "problem"),
    [
        ("zzzzzz", "no plugin is called 'zzzzzz': see datahub-plugin list"),
        ("no.such:Plugin", "plugin Plugin cannot be imported from no.such:Plugin: there is no"),
        (f"{PLUGINS}:Nope", f"plugin Nope cannot be imported from {PLUGINS}:Nope: there is no"),
        (f"{PLUGINS}:NotAPlugin", f"plugin NotAPlugin: {PLUGINS}:NotAPlugin is not a DatahubPlug"),
    ],
)
def test_a_plugin_that_is_not_usable(plugin: str, problem: str, folder: Path) -> None:
    ended = call("run", plugin, "--subtask-id", "1", cwd=folder, env=remote(folder))
    assert ended.code == 2
    assert len(ended.problems) == 1
    assert ended.problems[0].startswith(problem)


def remote(folder: Path) -> dict[str, str]:
    return {**UNREACHABLE, "DATAHUB_STATE_DIR": str(folder / "state")}


def test_a_config_that_does_not_validate_has_a_line_for_each_field(folder: Path) -> None:
    given = ("--config", '{"word": [7], "times": 0}', "--set", "other=NaN")
    ended = call("run", ECHO, *LOCAL, *given, cwd=folder)
    assert ended.code == 2
    assert ended.problems == [
        "config word: Input should be a valid string",
        "config times: Input should be greater than or equal to 1",
        "config other: there is no such key; there is word, times",
    ]
    assert list((folder / "out").iterdir()) == []


def test_all_wrong_variables_at_once_and_no_secret(folder: Path) -> None:
    env = {
        "DATAHUB_HEARTBEAT_SECONDS": "often",
        "DATAHUB_ISOLATION": "jail",
        "DATAHUB_API_KEY": "not a header",
        "DATAHUB_TRANSFER__CONCURRENCY": "0",
    }
    ended = call("run", *REMOTE, cwd=folder, env=env)
    assert ended.code == 2
    assert ended.problems == [
        (
            "DATAHUB_API_KEY: expected printable ASCII characters without spaces"
            " (it goes into an HTTP header)"
        ),
        'DATAHUB_HEARTBEAT_SECONDS="often": expected a number greater than 0 (seconds)',
        'DATAHUB_ISOLATION="jail": expected process or thread',
        'DATAHUB_TRANSFER__CONCURRENCY="0": expected a whole number from 1 to 64',
    ]


def test_a_wrong_variable_counts_locally_too(folder: Path) -> None:
    ended = call("run", ECHO, *LOCAL, cwd=folder, env={"DATAHUB_ISOLATION": "jail"})
    assert ended.code == 2
    assert ended.problems == ['DATAHUB_ISOLATION="jail": expected process or thread']


def test_a_misspelt_variable_is_a_warning(folder: Path) -> None:
    ended = call("run", *REMOTE, cwd=folder, env={"DATAHUB_BASEURL": "http://127.0.0.1:9"})
    assert ended.code == 2
    assert ended.problems[0] == "DATAHUB_BASEURL is not a setting; did you mean DATAHUB_BASE_URL?"
    assert ended.problems[1].startswith("DATAHUB_BASE_URL is not set: ")


def test_datahub_is_unreachable(folder: Path) -> None:
    env = {**remote(folder), "DATAHUB_STARTUP_DEADLINE": "1"}
    ended = call("run", *REMOTE, cwd=folder, env=env)
    assert ended.code == 69
    assert "127.0.0.1" in ended.problems[-1]


@pytest.mark.parametrize("kind", ["a folder", "no folder can be made"])
def test_a_journal_that_cannot_be_used(kind: str, folder: Path) -> None:
    state = Path("/proc/state") if kind.startswith("no") else folder / "state"
    journal = state / "journal.sqlite3"
    if kind == "a folder":
        journal.mkdir(parents=True)
    env = {**UNREACHABLE, "DATAHUB_STATE_DIR": str(state)}
    ended = call("run", *REMOTE, cwd=folder, env=env)
    assert ended.code == 2
    assert len(ended.problems) == 1
    assert str(state) in ended.problems[0]


def test_a_command_that_there_is_not(folder: Path) -> None:
    ended = call("bogus", cwd=folder)
    assert ended.code == 2
    assert ended.problems == ["No such command 'bogus'. (see datahub-plugin --help)"]


def test_an_internal_error_keeps_its_traceback(folder: Path) -> None:
    """Standing in for the bug: a module of ours that is shadowed by a broken one."""
    (folder / "sitecustomize.py").write_text(
        "import sys\nsys.modules['plugin_framework.testing.local'] = sys\n"
    )
    ended = call("run", ECHO, *LOCAL, cwd=folder, env={"PYTHONPATH": str(folder)})
    assert ended.code == 1
    assert "cannot import name 'run_local'" in ended.log[-1]["traceback"]
    assert ended.log[-1]["traceback"].startswith("Traceback")
