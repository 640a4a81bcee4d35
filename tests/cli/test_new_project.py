"""A project that ``new`` makes is whole: what its README has one type works, and its files fit."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types of its own

import plugin_framework
from plugin_framework import __version__
from plugin_framework.cli.new.names import LONGEST_DESCRIPTION, LONGEST_NAME, wrong_class
from plugin_framework.cli.new.project import Project
from tests.cli.calling import call
from tests.docs.markdown import ROOT, blocks, links
from tests.docs.terminal import Terminal

# These set up the reader's machine: a new environment, and packages from elsewhere.
SET_UP = ("python3 -m venv ", ". .venv/", "pip wheel ", "pip install ")
INSTALL = "pip install -q --no-build-isolation --no-deps --target {} ."
LONG = "-".join(["a" * (LONGEST_NAME // 2 - 1), "b" * (LONGEST_NAME // 2)])
HOSTILE = (
    *("--async", "--name", LONG, "--class", "C" * LONGEST_NAME, "--description"),
    '"It" \'does\' """ naïve “things” to 日本 — ☃ \\N{DASH} %%name ${x} \\',
)
# The rules for plugins take their time: the plain project is tried by them where the guide has it.
OWN_TESTS = {"pytest": "pytest tests/test_plugin.py"}
PROJECTS = [
    # As README.md has it.
    pytest.param(
        (), {**OWN_TESTS, "datahub-plugin check": "true"}, id="plain", marks=pytest.mark.long
    ),
    pytest.param(HOSTILE, OWN_TESTS, id="async, quotes and unicode"),
]


def commands(readme: Path) -> Iterator[str]:
    for block in blocks(readme):
        if block.language == "console":
            yield from re.findall(r"^\$ (.*)$", block.text, re.MULTILINE)


@pytest.mark.parametrize(("arguments", "instead"), PROJECTS)
def test_what_the_readme_has_one_type_works(
    arguments: tuple[str, ...], instead: dict[str, str], tmp_path: Path, mypy_cache: Path
) -> None:
    assert call("new", "my-plugin", *arguments, cwd=tmp_path).code == 0
    project = tmp_path / "my-plugin"
    with Terminal(tmp_path) as terminal:
        terminal.type(f"cd my-plugin; export MYPY_CACHE_DIR={mypy_cache}")
        typed = [one for one in commands(project / "README.md") if not one.startswith(SET_UP)]
        assert {one.split()[0] for one in typed} == {"datahub-plugin", "mypy", "pytest", "ruff"}
        for command in [INSTALL.format(terminal.site), *typed]:
            printed, code = terminal.type(shortened(command, instead))
            assert code == 0, f"{command}: {printed}"
    assert (project / "out" / "cleaned.txt").exists()


def shortened(command: str, instead: dict[str, str]) -> str:
    return next((new for old, new in instead.items() if command.startswith(old)), command)


@pytest.fixture(scope="session")
def mypy_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What it finds out about the framework is the same for every project."""
    return tmp_path_factory.mktemp("mypy")


def test_the_description_arrives_as_it_was_given(tmp_path: Path) -> None:
    description = '"Quoted" \\N{DASH} """ <b>it</b> ☃'
    words = ("--description", description)
    assert call("new", "my-plugin", *words, cwd=tmp_path).code == 0
    said = call("info", "--json", "my_plugin.plugin:MyPlugin", cwd=tmp_path / "my-plugin/src")
    assert json.loads(said.out)["description"] == f"{description}."
    readme = (tmp_path / "my-plugin/README.md").read_text("utf-8")
    assert '"Quoted" \\\\N\\{DASH\\} """ \\<b\\>it\\</b\\> ☃.' in readme


ORIGINS = {
    "a repository": (
        {
            "url": "https://git.example.com/it.git",
            "vcs_info": {"vcs": "git", "commit_id": "c0ffee"},
        },
        "git+https://git.example.com/it.git@c0ffee",
        "git+https://git.example.com/it.git@c0ffee",
    ),
    "an address": (
        {"url": "https://example.com/it.whl", "archive_info": {}},
        "https://example.com/it.whl",
        "https://example.com/it.whl",
    ),
    "a folder": (
        {"url": "file:///some%20where/it", "dir_info": {}},
        "'/some where/it'",
        "path/to/datahub-plugin-framework",
    ),
    "a registry": (None, *[f"datahub-plugin-framework=={__version__}"] * 2),
}


@pytest.mark.parametrize(("origin", "told", "written"), ORIGINS.values(), ids=ORIGINS)
def test_the_framework_comes_from_where_the_user_had_it_from(
    origin: dict[str, Any] | None,
    told: str,
    written: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts = tmp_path / f"site/datahub_plugin_framework-{__version__}.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: datahub-plugin-framework\n")
    if origin:
        (facts / "direct_url.json").write_text(json.dumps(origin))
    monkeypatch.setenv("PYTHONPATH", str(facts.parent), prepend=os.pathsep)
    ended = call("new", "my-plugin", cwd=tmp_path)
    command = "pip wheel --no-deps --wheel-dir wheels"
    assert f"\n  {command} {told}\n" in ended.out
    for page in ("README.md", "wheels/README.md"):
        text = (tmp_path / "my-plugin" / page).read_text("utf-8")
        assert f"\n$ {command} {written}\n" in text


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project") / "my-plugin"
    made = Project("my-plugin", "my_plugin", "MyPlugin", "x" * LONGEST_DESCRIPTION)
    for path, text in made.files():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("is_async", [False, True])
def test_no_class_can_be_called_as_what_else_is_in_its_modules(*, is_async: bool) -> None:
    project = Project("my-plugin", "my_plugin", "MyPlugin", "Does it.", is_async=is_async)
    names = {
        name
        for path, text in project.files()
        if path.suffix == ".py"
        for name in names_of(ast.parse(text))
    }
    assert "DatahubPlugin" in names
    assert {name for name in names - {"MyPlugin"} if not wrong_class(name)} == set()


def names_of(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.alias):
            yield node.asname or node.name
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.Name):
            yield node.id


def test_links_lead_somewhere(project: Path) -> None:
    for page in project.rglob("*.md"):
        assert [link for link in links(page) if not (page.parent / link).exists()] == []


def test_nothing_names_this_machine_or_another(project: Path) -> None:
    for path in project.rglob("*.*"):
        if path.is_file() and path.name != "Dockerfile":
            text = path.read_text("utf-8")
            assert str(ROOT) not in text
            assert "://" not in text


def test_the_workflow_runs_what_the_readme_has_one_type(project: Path) -> None:
    workflow: dict[str, Any] = yaml.safe_load((project / ".github/workflows/ci.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    uses = [step["uses"] for step in steps if "uses" in step]
    assert [one for one in uses if not re.search(r"@(v\d+|[0-9a-f]{40})$", one)] == []
    checks = {"ruff check .", "ruff format --check .", "mypy", "pytest"}
    assert checks <= {step.get("run") for step in steps}
    assert checks <= set(commands(project / "README.md"))
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] for job in workflow["jobs"].values())


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Each instruction of a Dockerfile and its arguments."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined) if word]


def test_the_image_finds_in_its_context_what_it_copies(project: Path) -> None:
    allowed = (project / ".dockerignore").read_text().splitlines()
    copied = [
        source
        for word, rest in instructions(project / "Dockerfile")
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert copied == ["wheels/", "pyproject.toml", "README.md", "src/"]
    for source in copied:
        assert (project / source).exists()
        assert f"!{source}" in allowed
    assert "*" in allowed


def test_the_image_runs_as_the_one_of_the_guide(project: Path) -> None:
    """Of that one, tests see that it stops, checks its health, and owns nothing."""
    ours, theirs = (
        {
            word: rest
            for word, rest in instructions(file)
            if word not in {"ARG", "COPY", "RUN", "FROM"}  # how it is built
        }
        for file in (project / "Dockerfile", ROOT / "docs/how-to/deploy/Dockerfile")
    )
    ours["ENV"] = ours["ENV"].replace("DATAHUB_PLUGIN=my-plugin ", "")
    del ours["WORKDIR"]
    assert {key: rest.split() for key, rest in ours.items()} == {
        key: rest.split() for key, rest in theirs.items()
    }


def test_the_wheel_has_the_templates(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    package = Path(plugin_framework.__file__).parent
    templates = {str(path.relative_to(ROOT)) for path in package.rglob("*.tmpl")}
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert templates
        assert templates <= set(archive.namelist())
