"""Stops a process and all that it started, where they are, and lets them go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def freeze(pid: int) -> None:
    """Stop a process and its descendants, in whatever groups and sessions they are."""
    stopped: set[int] = set()
    # One that runs may start another while we look: none is left that does when nothing is new.
    while found := [each for each in _family(pid) if each not in stopped]:
        for each in found:
            _signal(each, signal.SIGSTOP)
            _await_stop(each)
        stopped.update(found)


def thaw(pid: int) -> None:
    """Let them go on."""
    for each in _family(pid):
        _signal(each, signal.SIGCONT)


def _family(pid: int) -> Iterator[int]:
    """A process and its descendants, where the kernel tells (Linux)."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in children.read_text(encoding="ascii").split():
                yield from _family(int(child))


def _await_stop(pid: int) -> None:
    """Wait until the signal has taken hold: at once, but for a process that the kernel holds up."""
    while _state(pid) not in {"T", "t", "Z", "D", "X", ""}:
        os.sched_yield()


def _state(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
