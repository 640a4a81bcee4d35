"""A plugin that looks into the processes around its own for what is not its own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from plugin_framework import DatahubPlugin, TaskContext

CANARY = "c4n4ry-in-the-environment"
FOUND = "FILE_FOR_WHAT_IS_FOUND"


class Watchful(DatahubPlugin):
    """Notes the processes of its command, and whether each shows what it was started with."""

    version = "1"

    def process(self, ctx: TaskContext[Any]) -> dict[str, Any]:
        _note(_family())
        return {}


def _note(pids: Iterable[int]) -> None:
    with Path(os.environ[FOUND]).open("a", encoding="utf-8") as file:
        file.writelines(f"{_shown(pid)}: {_arguments(pid)}\n" for pid in pids)


def _shown(pid: int) -> str:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError as error:
        return str(error.strerror)
    return "the canary" if CANARY.encode() in environment else "no canary"


def _above() -> list[int]:
    """This process, and those that it comes of, up to the command."""
    parents, above = dict(_parents()), [os.getpid()]
    while parent := parents.get(above[-1]):
        above.append(parent)
    commands = [place for place, pid in enumerate(above) if "datahub-plugin" in _arguments(pid)]
    return above[: commands[-1] + 1]


def _family() -> set[int]:
    """All processes that the command started, and its own."""
    parents, members = dict(_parents()), {_above()[-1]}
    while more := {pid for pid, parent in parents.items() if parent in members} - members:
        members |= more
    return members


def _parents() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit():
                stat = (folder / "stat").read_text().rpartition(")")[2]
                yield int(folder.name), int(stat.split()[1])
        except OSError:
            continue  # ended meanwhile


def _arguments(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


if FOUND in os.environ:  # imported to be run, and maybe killed before; others may just start
    _note(_above()[1:])
