"""``new``: what it asks, what it refuses, and that it leaves nothing behind where it does."""

from __future__ import annotations

import os
import pty
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plugin_framework.cli.new.names import (
    LONGEST_DESCRIPTION,
    LONGEST_NAME,
    wrong_class,
    wrong_description,
    wrong_name,
    wrong_package,
)
from tests.cli.calling import COMMAND, DEADLINE, call, environment


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def project_of(folder: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
    return project["project"]  # type: ignore[no-any-return]  # TOML is what it is


def test_without_a_terminal_nothing_is_asked(tmp_path: Path) -> None:
    ended = call("new", "Some Folder/My_Plugin", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    project = project_of(tmp_path / "Some Folder" / "My_Plugin")
    assert project["name"] == "my-plugin"
    assert project["entry-points"]["datahub.plugins"] == {"my-plugin": "my_plugin.plugin:MyPlugin"}
    assert "  cd 'Some Folder/My_Plugin'\n" in ended.out
    assert names_in(tmp_path) == ["Some Folder"]


def test_the_next_steps_end_with_a_page_to_try_it_in(tmp_path: Path) -> None:
    steps = call("new", "my-plugin", cwd=tmp_path).out.splitlines()
    run, dev = steps[-2:]
    assert run == "  datahub-plugin run my-plugin --local tests/sample.txt --out out/"
    assert dev == "  datahub-plugin dev my-plugin"


def test_what_is_given_is_taken(tmp_path: Path) -> None:
    words = ("--name", "a-b", "--class", "Cd", "--package", "e_f", "--description", "Does 1 \\ 2")
    assert call("new", "x", "--async", *words, cwd=tmp_path).code == 0
    project = project_of(tmp_path / "x")
    assert project["entry-points"]["datahub.plugins"] == {"a-b": "e_f.plugin:Cd"}
    assert project["description"] == "Does 1 \\ 2."
    assert "async def process" in (tmp_path / "x/src/e_f/plugin.py").read_text("utf-8")


def test_it_has_all_that_a_project_needs(tmp_path: Path) -> None:
    assert call("new", "it", "--name", "my-plugin", cwd=tmp_path).code == 0
    assert tree(tmp_path / "it") == {
        ".dockerignore",
        ".github/workflows/ci.yml",
        ".gitignore",
        "Dockerfile",
        "README.md",
        "pyproject.toml",
        "src/my_plugin/__init__.py",
        "src/my_plugin/plugin.py",
        "src/my_plugin/py.typed",
        "tests/sample.txt",
        "tests/test_conformance.py",
        "tests/test_plugin.py",
        "wheels/README.md",
    }


def test_the_folder_may_be_there_if_it_is_empty_or_a_new_repository(tmp_path: Path) -> None:
    before = tmp_path.stat().st_ino
    (tmp_path / ".git").mkdir()
    assert call("new", ".", "--name", "my-plugin", cwd=tmp_path).code == 0
    assert tmp_path.stat().st_ino == before  # or the user's shell would be nowhere
    assert (tmp_path / "pyproject.toml").exists()
    assert not list(tmp_path.glob(".datahub-*"))


WRONG_WORDS: list[tuple[Callable[[str], str], str, str]] = [
    (wrong_name, "", "is no name"),
    (wrong_name, "1a", "is no name"),
    (wrong_name, "../evil", "is no name"),
    (wrong_name, "a--b", "is no name"),
    (wrong_name, "a\n", "is no name"),
    (wrong_name, "é", "is no name"),
    (wrong_name, "a" * (LONGEST_NAME + 1), "it has 41 characters"),
    (wrong_name, "csv-profile", "an installed plugin is called csv-profile already"),
    (wrong_name, "datahub-plugin-framework", "an installed package is called"),
    (wrong_package, "a.b", "is no package"),
    (wrong_package, "class", "a word of Python's own"),
    (wrong_package, "json", "there is a package json already"),
    (wrong_package, "click", "there is a package click already"),
    (wrong_package, "tests", "there is a package tests already"),
    (wrong_package, "a" * (LONGEST_NAME + 1), "it has 41 characters"),
    (wrong_class, "My-Plugin", "is no class"),
    (wrong_class, "myPlugin", "is no class"),
    (wrong_class, "None", "a word of Python's own"),
    (wrong_class, "ValueError", "a word of Python's own"),
    (wrong_class, "TaskContext", "means something else"),
    (wrong_class, "A" * (LONGEST_NAME + 1), "it has 41 characters"),
    (wrong_description, " ", "expected a line"),
    (wrong_description, "one\ntwo", "one line of printable text"),
    (wrong_description, "one\u2028two", "one line of printable text"),
    (wrong_description, "one\u202etwo", "one line of printable text"),
    (wrong_description, os.fsdecode(b"\xff"), "one line of printable text"),
    (wrong_description, "a" * (LONGEST_DESCRIPTION + 1), "it has 111 characters"),
]


@pytest.mark.parametrize(("check", "text", "reason"), WRONG_WORDS)
def test_words_that_cannot_be_are_told_from_others(
    check: Callable[[str], str], text: str, reason: str
) -> None:
    assert reason in check(text)


WRONG = {
    "a name": ("x", "--name", "../evil"),
    "a name of the folder's": ("日本",),
    "a package": ("x", "--package", "a.b"),
    "a class": ("x", "--class", "My-Plugin"),
    "a description": ("x", "--description", "one\ntwo"),
    "a folder with something in it": ("full",),
    "a file": ("full/file",),
    "below a file": ("full/file/x",),
    "a link to nothing": ("dangling",),
    "a folder with too long a name": ("a" * 300, "--name", "my-plugin"),
    "no folder": (),
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_one_line_and_leaves_nothing(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    ended = call("new", *arguments, cwd=tmp_path)
    assert (ended.code, len(ended.problems)) == (2, 1)
    assert names_in(tmp_path) == ["dangling", "full"]
    assert tree(tmp_path) == {"full/file"}


class Answers:
    """What a user at a terminal types, and what is shown."""

    def __init__(self, cwd: Path, *arguments: str, typed: str) -> None:
        ours, theirs = pty.openpty()
        os.write(ours, typed.encode())
        with subprocess.Popen(
            [COMMAND, *arguments],
            cwd=cwd,
            env=environment(),
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                self.out, self.err = process.communicate(timeout=DEADLINE)
            finally:
                process.kill()
                os.close(ours)
                os.close(theirs)
        self.code = process.returncode


def test_on_a_terminal_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    given = ("new", "x", "--package", "given")
    asked = Answers(tmp_path, *given, typed="1a\nmy-plugin\n\nSays hello\n")
    assert asked.code == 0
    assert asked.err.startswith("Name [x]: Error: '1a' is no name")
    assert "Class [MyPlugin]: " in asked.err
    assert "Package" not in asked.err
    project = project_of(tmp_path / "x")
    assert project["entry-points"]["datahub.plugins"] == {"my-plugin": "given.plugin:MyPlugin"}
    assert project["description"] == "Says hello."


def test_what_cannot_be_is_not_proposed(tmp_path: Path) -> None:
    asked = Answers(tmp_path, "new", "csv-profile", typed="my-plugin\n\n\n\n")
    assert asked.code == 0
    assert asked.err.startswith("Name: ")


def test_yes_asks_nothing(tmp_path: Path) -> None:
    asked = Answers(tmp_path, "new", "x", "--yes", typed="")
    assert (asked.code, asked.err) == (0, "")


def test_who_does_not_answer_gets_nothing(tmp_path: Path) -> None:
    asked = Answers(tmp_path, "new", "x", typed="\x04")
    assert asked.code == 130
    assert names_in(tmp_path) == []


def test_where_nothing_can_be_written_that_is_said(tmp_path: Path) -> None:
    ended = call("new", "/proc/my-plugin", cwd=tmp_path)
    assert ended.code == 2
    assert len(ended.problems) == 1
    assert "/proc/my-plugin cannot be made" in ended.problems[0]
