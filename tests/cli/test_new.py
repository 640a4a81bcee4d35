"""``new``: what it asks, what it refuses, and that it leaves nothing behind where it does."""

from __future__ import annotations

import os
import pty
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from plugin_framework.cli.new.names import LONGEST_DESCRIPTION, LONGEST_NAME
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


WRONG = {
    "a keyword as package": ("x", "--package", "class"),
    "a keyword by its name": ("class",),
    "a number first": ("x", "--name", "1a"),
    "a path as name": ("x", "--name", "../evil"),
    "a module of the library": ("json",),
    "a name that is too long": ("x", "--name", "a" * (LONGEST_NAME + 1)),
    "a package that is too long": ("x", "--package", "a" * (LONGEST_NAME + 1)),
    "a package that is installed": ("x", "--package", "click"),
    "a package with a point": ("x", "--package", "a.b"),
    "a plugin that is installed": ("x", "--name", "csv-profile"),
    "a distribution that is installed": ("x", "--name", "datahub-plugin-framework"),
    "the package of the tests": ("tests",),
    "no letters to make a name of": ("日本",),
    "a class that is built in": ("x", "--class", "ValueError"),
    "a class that is no identifier": ("x", "--class", "My-Plugin"),
    "a class that begins small": ("x", "--class", "myPlugin"),
    "a class that is too long": ("x", "--class", "A" * (LONGEST_NAME + 1)),
    "a class that its module imports": ("x", "--class", "TaskContext"),
    "a description of two lines": ("x", "--description", "one\ntwo"),
    "a description with a separator": ("x", "--description", "one\u2028two"),
    "a description that hides": ("x", "--description", "one\u202etwo"),
    "a description of nothing": ("x", "--description", " "),
    "a description that is too long": ("x", "--description", "a" * (LONGEST_DESCRIPTION + 1)),
    "a description that is not UTF-8": ("x", "--description", os.fsdecode(b"\xff")),
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
