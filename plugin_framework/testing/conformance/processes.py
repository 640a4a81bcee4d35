"""What the kernel says of processes (Linux: ``/proc``)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_ZOMBIE = "Z"


def children(pid: int) -> set[int]:
    """The processes whose parent is ``pid``, or a thread of it."""
    found: set[int] = set()
    try:
        for thread in (_PROC / str(pid) / "task").iterdir():
            found.update(map(int, (thread / "children").read_text().split()))
    except OSError:
        pass  # it has just ended
    return found


def tree(pid: int) -> Iterator[int]:
    """The process, and all that descend from it."""
    yield pid
    for child in children(pid):
        yield from tree(child)


def is_alive(pid: int) -> bool:
    """Whether it runs; one that has ended, and that nobody has asked about, does not."""
    fields = _stat(pid)
    return bool(fields) and fields[0] != _ZOMBIE


def own_memory(pid: int) -> int:
    """Bytes of memory that the process and its descendants hold, without pages of files."""
    return sum(map(_own_memory, tree(pid)))


def cpu_seconds(pid: int) -> float:
    """The processor time that the process and its descendants have taken."""
    used = 0.0
    for each in tree(pid):
        if fields := _stat(each):
            used += (int(fields[11]) + int(fields[12])) / _TICKS
    return used


def command_of(pid: int) -> str:
    """Its command line; empty where it has ended."""
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return " ".join(word.decode(errors="replace") for word in words if word)


def with_variable(name: str, value: str) -> list[int]:
    """The processes that were started with this environment variable."""
    wanted = f"{name}={value}".encode()
    return [pid for pid in _all() if is_alive(pid) and wanted in _environment(pid)]


def _all() -> Iterator[int]:
    return (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())


def _environment(pid: int) -> list[bytes]:
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []  # it has ended, or is somebody else's


def _stat(pid: int) -> list[str]:
    """The fields after the name, which may hold anything: the state is the first."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _own_memory(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    kib = [int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:"))]
    return sum(kib) * 1024
