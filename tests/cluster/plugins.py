"""Plugins that clusters are tried with. Each run of their code leaves a line in ``marks``."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from plugin_framework import DatahubPlugin, Field, PluginConfig, TaskContext, TaskResult

LOOK_SECONDS = 0.02
MIB = 1024 * 1024


@dataclass(frozen=True)
class Mark:
    """What a run of a plugin's code leaves; ``at`` is monotonic, the same for all processes."""

    subtask: str
    attempt: int
    process: str
    work_dir: str
    at: float
    what: str

    @classmethod
    def all_in(cls, path: Path) -> list[Self]:
        """All of them, in the order in which they were left."""
        if not path.exists():
            return []
        return [cls(**json.loads(line)) for line in path.read_text().splitlines()]

    @property
    def lives(self) -> bool:
        """Whether the process that left it has not ended."""
        try:
            return identity(int(self.process.partition("@")[0])) == self.process
        except OSError:
            return False

    def kill(self) -> None:
        """Kill the process that left it, unless it has ended."""
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(int(self.process.partition("@")[0]))
            try:
                if self.lives:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)


def identity(pid: int) -> str:
    """A process, told apart from later ones of its number by when it started; a zombie is none."""
    state, *_, started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:20]
    return "" if state == "Z" else f"{pid}@{started}"


class Marks(PluginConfig):
    """``marks`` is a file."""

    marks: str = ""


def mark(ctx: TaskContext[Any], what: str = "") -> None:
    """Leave one."""
    if not ctx.config.marks:
        return
    left = {
        "subtask": ctx.subtask_id,
        "attempt": ctx.attempt,
        "process": identity(os.getpid()),
        "work_dir": str(ctx.work_dir),
        "at": time.monotonic(),
        "what": what,
    }
    with Path(ctx.config.marks).open("a") as marks:
        marks.write(json.dumps(left) + "\n")


class Nothing(DatahubPlugin):
    """Is over at once."""

    def process(self, ctx: TaskContext[Any]) -> None:
        """Do nothing."""


class Work(DatahubPlugin):
    """Checks in for ``seconds``, and then until ``until`` exists; its results are never equal."""

    version = "1.2.3"

    class Config(Marks):
        seconds: float = 0
        until: str = ""

    def process(self, ctx: TaskContext[Any]) -> TaskResult:
        mark(ctx)
        over = time.monotonic() + ctx.config.seconds
        while time.monotonic() < over:
            ctx.checkpoint()
            time.sleep(LOOK_SECONDS)
        while ctx.config.until and not Path(ctx.config.until).exists():
            ctx.checkpoint()
            time.sleep(LOOK_SECONDS)
        mark(ctx, "returns")
        return TaskResult(total_counts=1, attempt=ctx.attempt, run=time.time_ns())

    def on_cancel(self, ctx: TaskContext[Any]) -> None:
        mark(ctx, "is cancelled")


class OtherWork(Work):
    """The same, of another name."""


class LimitedWork(Work):
    """The same, which may take a minute."""

    timeout_seconds = 60


class GpuWork(Work):
    """The same, which takes a graphics card."""

    resources = {"gpus": 1}  # noqa: RUF012 - the base class says that it is a class variable


class HugeWork(Work):
    """The same, which takes more than there is."""

    resources = {"gpus": 512, "memory": "900GiB"}  # noqa: RUF012 - as above


class Steps(DatahubPlugin):
    """Takes steps, saves each, and goes on after the last that is saved."""

    class Config(Marks):
        steps: int = 10
        seconds: float = 0.1

    def on_start(self, ctx: TaskContext[Any]) -> None:
        mark(ctx, "new" if ctx.work_dir_is_new else "known")
        (ctx.work_dir / "trace").touch()

    def process(self, ctx: TaskContext[Any]) -> TaskResult:
        for step in range(ctx.state.get("step", 0), ctx.config.steps):
            mark(ctx, f"step {step}")
            time.sleep(ctx.config.seconds)  # the work
            ctx.save_state(step=step + 1)
            ctx.checkpoint()
        return TaskResult(total_counts=ctx.config.steps, attempt=ctx.attempt)


def content(number: int) -> bytes:
    """A MiB that is like no other."""
    return number.to_bytes(8, "big") * (MIB // 8)


class Sends(DatahubPlugin):
    """Makes a file, the same each time, and uploads it."""

    class Config(Marks):
        mebibytes: int = Field(64, ge=1)

    def process(self, ctx: TaskContext[Any]) -> TaskResult:
        mark(ctx)
        path = ctx.work_dir / "made.bin"
        with path.open("wb") as made:
            for number in range(ctx.config.mebibytes):
                made.write(content(number))
        sent = ctx.upload(path)
        return TaskResult(total_counts=1, attempt=ctx.attempt, sha256=sent.sha256)
