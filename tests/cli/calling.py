"""Calls the command as a user does: as a process, with an environment of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

COMMAND = str(Path(sys.executable).with_name("datahub-plugin"))
PLUGINS = "tests.cli.sample_plugins"
PROJECT = Path(__file__).parents[2]
DEADLINE = 60.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def outcome(self) -> dict[str, Any]:
        """All of stdout, which is one line with one JSON object."""
        assert self.out.count("\n") == 1
        assert self.out.endswith("\n")
        outcome = json.loads(self.out)
        assert isinstance(outcome, dict)
        return outcome

    @property
    def log(self) -> list[dict[str, Any]]:
        """All of stderr, which is JSON lines."""
        lines = [json.loads(line) for line in self.err.splitlines()]
        assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
        return lines

    @property
    def problems(self) -> list[str]:
        """What the command says is wrong: one line each, structured or not, and nothing else."""
        assert "Traceback" not in self.err
        assert self.out == ""
        return [problem_of(line)[0] for line in self.err.splitlines()]

    @property
    def codes(self) -> list[str | None]:
        """The codes of the problems."""
        return [problem_of(line)[1] for line in self.err.splitlines()]


def problem_of(line: str) -> tuple[str, str | None]:
    """The message of a problem's line, and its code; what is merely told has none."""
    if line.startswith("{"):
        said = json.loads(line)
        return said["message"], said.get("code")
    found = re.fullmatch(r"datahub-plugin: (.*?)(?: \[(DH-\d{3})\])?", line)
    assert found, line
    return found[1], found[2]


def environment(**variables: str) -> dict[str, str]:
    """This process's environment with no other Datahub setting than these."""
    clean = {name: value for name, value in os.environ.items() if "DATAHUB" not in name}
    path = os.pathsep.join(filter(None, (clean.get("PYTHONPATH"), str(PROJECT))))
    return {**clean, "PYTHONPATH": path, "TERM": "xterm", "COLUMNS": "150", **variables}


def start(
    *arguments: str | Path,
    cwd: Path,
    env: dict[str, str] | None = None,
    stdout: int | IO[Any] = subprocess.PIPE,
    stderr: int | IO[Any] = subprocess.PIPE,
) -> subprocess.Popen[str]:
    """Start ``datahub-plugin``."""
    return subprocess.Popen(
        [COMMAND, *map(str, arguments)],
        cwd=cwd,
        env=environment(**(env or {})),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        text=True,
    )


def call(
    *arguments: str | Path,
    cwd: Path,
    env: dict[str, str] | None = None,
    stdout: int | IO[Any] = subprocess.PIPE,
    stderr: int | IO[Any] = subprocess.PIPE,
) -> Ended:
    """Run ``datahub-plugin`` to its end."""
    with start(*arguments, cwd=cwd, env=env, stdout=stdout, stderr=stderr) as process:
        return end_of(process)


def end_of(process: subprocess.Popen[str]) -> Ended:
    """Wait for a command's end."""
    try:
        out, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    return Ended(process.returncode, out or "", err or "")


@dataclass(frozen=True, slots=True)
class Family:
    """All processes that come of a command, known by a mark in their environment."""

    mark: str

    @classmethod
    def new(cls) -> Family:
        return cls(uuid.uuid4().hex)

    @property
    def env(self) -> dict[str, str]:
        return {"FAMILY_MARK": self.mark}

    def alive(self) -> set[int]:
        """The members that have not ended.

        A supervisor shows its environment to root alone: it is known by its child or parent.
        """
        marked = {pid for pid, environ in _environments() if environ and self._is_in(environ)}
        hidden = {pid for pid, environ in _environments() if environ is None}
        while relatives := {pid for pid in hidden - marked if _near(pid, marked)}:
            marked |= relatives
        return marked

    def _is_in(self, environ: bytes) -> bool:
        return self.mark.encode() in environ


def _environments() -> Iterator[tuple[int, bytes | None]]:
    """Of all processes; None where it is not shown."""
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit():
                yield int(folder.name), (folder / "environ").read_bytes()
        except PermissionError:
            yield int(folder.name), None
        except OSError:
            continue  # ended meanwhile


def _near(pid: int, members: set[int]) -> bool:
    return _parent_of(pid) in members or pid in map(_parent_of, members)


def _parent_of(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None  # ended meanwhile
