"""The subtasks of the soak: each kind of work, and how it may end."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plugin_framework import DatahubPlugin, PluginConfig, PluginError, TaskContext, TaskResult
from plugin_framework.protocol.models import TaskStatus

PART = 5 * 1024 * 1024
SIZES = (0, 1, 2_000, 300_000, PART + 1, 2 * PART + 12_345)
"""Bytes of the inputs; the last two make outputs of two and three parts."""
LARGE = len(SIZES) - 2
"""The first of those that make several parts."""
STEP_SECONDS = 0.2


class Works(DatahubPlugin):
    """Does what its kind says, and notes its process first, so that it can be killed."""

    class Config(PluginConfig):
        """``kind`` is one of ``KINDS``; ``marks`` is a file of running processes."""

        kind: str
        marks: str
        seconds: float = 0

    def process(self, ctx: TaskContext[Any]) -> TaskResult:
        """Do it."""
        self.note(ctx, os.getpid())
        getattr(self, f"do_{ctx.config.kind}")(ctx)
        return TaskResult(total_counts=1, success_counts=1)

    def note(self, ctx: TaskContext[Any], pid: int) -> None:
        """Say that this process runs for the subtask."""
        line = f"{ctx.subtask_id} {identity(pid)}\n".encode("ascii")
        marks = os.open(ctx.config.marks, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(marks, line)
        finally:
            os.close(marks)

    def do_copy(self, ctx: TaskContext[Any]) -> None:
        """Leave the input backwards."""
        data = ctx.download().read_bytes()
        (ctx.output_dir / "out.bin").write_bytes(data[::-1])

    def do_stream(self, ctx: TaskContext[Any]) -> None:
        """Read the input in place, and send the output as it is written."""
        with ctx.open_input() as source:
            data = source.read()
        with ctx.open_output("out.bin", len(data)) as out:
            out.write(data[::-1])

    def do_long(self, ctx: TaskContext[Any]) -> None:
        """Work for a while, saving how far it is; an attempt goes on where the last one was."""
        steps = max(1, round(ctx.config.seconds / STEP_SECONDS))
        for step in range(int(ctx.state.get("step", 0)), steps):
            ctx.checkpoint()
            time.sleep(STEP_SECONDS)
            ctx.progress(100 * step / steps)
            ctx.save_state(step=step + 1)
        self.do_copy(ctx)

    do_held = do_dropped = do_long

    def do_deaf(self, ctx: TaskContext[Any]) -> None:
        """Hear of no cancel; it is killed for it."""
        time.sleep(ctx.config.seconds)
        self.do_copy(ctx)

    def do_leaves(self, ctx: TaskContext[Any]) -> None:
        """Leave a process, threads and open files behind."""
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        self.note(ctx, child.pid)
        for _ in range(3):
            threading.Thread(target=threading.Event().wait, daemon=True).start()
            os.open(sys.executable, os.O_RDONLY)
        self.do_copy(ctx)

    def do_raises(self, _ctx: TaskContext[Any]) -> None:
        """Fail as a plugin does that knows why."""
        raise PluginError("as it was asked")

    def do_crashes(self, ctx: TaskContext[Any]) -> None:
        """End the process without a word, one way or another."""
        ways = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, None)
        way = random.Random(ctx.subtask_id).choice(ways)
        if way is None:
            os._exit(0)
        os.kill(os.getpid(), way)
        time.sleep(60)


class Threads(Works):
    """The same in a thread of the service, which grows where the framework leaks there."""

    isolation = "thread"

    def note(self, ctx: TaskContext[Any], pid: int) -> None:
        """Leave the service alone."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How often a kind comes, by which plugin it is done, and how it ends if nobody kills it."""

    weight: int
    plugins: tuple[str, ...] = ("Works",)
    seconds: tuple[float, float] = (0, 0)
    ends: frozenset[TaskStatus] = frozenset({TaskStatus.COMPLETED})
    large: bool = False


BOTH = ("Works", "Threads")
FAILED = frozenset({TaskStatus.FAILED})
CANCELLED = frozenset({TaskStatus.COMPLETED, TaskStatus.CANCELLED})  # it may come too late
KINDS: Mapping[str, Kind] = {
    "copy": Kind(30, BOTH),
    "stream": Kind(8, large=True),
    "long": Kind(8, BOTH, (3, 15)),
    "held": Kind(6, BOTH, (4, 8)),
    "dropped": Kind(6, BOTH, (6, 12), ends=CANCELLED),
    "deaf": Kind(1, seconds=(20, 20), ends=CANCELLED),
    "leaves": Kind(3),
    "raises": Kind(4, BOTH, ends=FAILED),
    "crashes": Kind(4, ends=FAILED),
}


class Inputs:
    """The files that subtasks work on, and what their outputs must be."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.paths: list[Path] = []
        self._hashes: list[str] = []
        for number, size in enumerate(SIZES):
            data = rng.randbytes(size)
            path = folder / f"input-{number}.bin"
            path.write_bytes(data)
            self.paths.append(path)
            self._hashes.append(hashlib.sha256(data[::-1]).hexdigest())

    def is_output(self, number: int, path: Path) -> bool:
        """Whether a file is what becomes of the input of that number."""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self._hashes[number]


def identity(pid: int) -> str:
    """A process, told apart from any later one of the same number by when it started."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    return f"{pid}@{stat.rpartition(')')[2].split()[19]}"


def lives(process: str) -> bool:
    """Whether the process of that identity is still there, and no zombie."""
    pid = int(process.partition("@")[0])
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        return state != "Z" and identity(pid) == process
    except OSError:
        return False
