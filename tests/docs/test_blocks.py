"""Every code block of the documentation does what its page says."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.fragments import CHECKS
from tests.docs.markdown import PAGES, ROOT, Block, blocks
from tests.docs.terminal import Terminal, matches
from tests.free_ports import free_ports

SHOWN_ONLY = frozenset({"text"})
# These set up the reader's machine; that they work is what a run of these tests shows.
SET_UP = (
    "make ",
    "git clone ",
    "python3 -m venv ",
    ". ",
    "pip install .",
    "pip install flask ",
    "pip install numpy ",
    "pip install pytest",
)
INSTALL = "pip install -e ."
PORTS = ("8765", "8766")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_every_block_of_the_page_runs(page: Path, tmp_path: Path) -> None:
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    with Terminal(tmp_path) as terminal:
        for block in blocks(page):
            text = re.sub("|".join(PORTS), lambda shown: ports[shown[0]], block.text)
            typed = Block(block.language, text, block.line)
            _run(typed, tmp_path, terminal, f"{page.relative_to(ROOT)}:{block.line}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_block_is_overlooked(page: Path) -> None:
    """Each begins at the margin, and says its language and nothing else."""
    fences = re.findall(r"^\s*(?:```|~~~)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) == 2 * len(blocks(page))
    assert [block.line for block in blocks(page) if not block.language] == []


def _run(block: Block, folder: Path, terminal: Terminal, where: str) -> None:
    if block.language in SHOWN_ONLY:
        return
    if block.language in {"console", "sh"}:
        _type(block, terminal, where)
    elif block.language == "python":
        _run_python(block, terminal, folder, where)
    elif block.language == "toml":
        tomllib.loads(block.text)
        _write(block, _current_folder(terminal))
    elif block.language == "json":
        json.loads(block.text)
    elif block.language in CHECKS:
        _check(block, where)
        _write(block, _current_folder(terminal))
    else:
        raise AssertionError(f"{where}: no way to run {block.language or 'a block of no'} language")


def _check(block: Block, where: str) -> None:
    try:
        CHECKS[block.language](block.text)
    except Exception as error:
        raise AssertionError(f"{where}: {error}") from error


def _run_python(block: Block, terminal: Terminal, folder: Path, where: str) -> None:
    file = _write(block, _current_folder(terminal))
    name = "__main__" if file is None else "shown"  # a program is run where the page runs it
    if file is None:
        file = folder / f"block_{block.line}.py"
        file.write_text(block.text, encoding="utf-8")
    run = f"import runpy, sys; sys.path[0] = '.'; runpy.run_path({str(file)!r}, run_name={name!r})"
    printed, code = terminal.type(f'python -W error -c "{run}"')
    assert code == 0, f"{where}: {printed}"


def _type(block: Block, terminal: Terminal, where: str) -> None:
    commands = list(_commands(block.text))
    assert commands, f"{where}: no line begins with '$ '"
    for number, (command, expected) in enumerate(commands):
        if command.startswith(SET_UP):
            continue
        install = f"pip install -q --no-build-isolation --no-deps --target {terminal.site} ."
        printed, code = terminal.type(install if command == INSTALL else command)
        says_code = commands[number + 1 :][:1] and commands[number + 1][0] == "echo $?"
        assert code == 0 or says_code, f"{where}: {command} exited with {code}: {printed}"
        assert expected is None or matches(printed, expected), (
            f"{where}: {command} printed:\n{printed}\nand not:\n{expected}"
        )


def _commands(text: str) -> Iterator[tuple[str, str | None]]:
    """Each command, and what it prints; None where the page does not show it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        count = 1
        while lines[count - 1].endswith("\\") or "".join(lines[:count]).count("'") % 2:
            count += 1
        expected = "\n".join(lines[count:])
        yield "\n".join(lines[:count]), expected if expected.strip() else None


def _write(block: Block, folder: Path) -> Path | None:
    if block.file_name is None:
        return None
    file = folder / block.file_name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(block.text, encoding="utf-8")
    return file


def _current_folder(terminal: Terminal) -> Path:
    return Path(terminal.type("pwd")[0].strip())
