"""Plugins that behave, and plugins that do not. Processes of their own import them from here."""

from __future__ import annotations

import ctypes
import errno
import math
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from plugin_framework import DatahubPlugin, Field, PluginConfig, TaskContext, TaskResult
from plugin_framework.errors import InvalidResultError
from plugin_framework.protocol.models import TaskStatus


class Copies(DatahubPlugin):
    """Downloads its input, and uploads copies of it in every way there is."""

    def process(self, ctx: TaskContext[Any]) -> TaskResult:
        source = ctx.download()
        ctx.progress(40)
        data = source.read_bytes()
        deep = ctx.output_dir / "a" / "b"
        deep.mkdir(parents=True)
        (deep / "copy.bin").write_bytes(data)
        (ctx.output_dir / "empty").touch()
        (ctx.output_dir / "link").symlink_to(deep / "copy.bin")
        sent = ctx.output_dir / "sent.bin"
        sent.write_bytes(data[:10])
        ctx.upload(ctx.output_dir / "a" / ".." / "sent.bin", name="by hand.bin")
        with ctx.open_input() as file:
            file.seek(5)
            middle = file.read(3)
        return TaskResult(total_counts=1, success_counts=1, size=len(data), middle=middle.hex())


class MischiefConfig(PluginConfig):
    """``way`` names an entry of MISCHIEF."""

    way: str


class OddError(BaseException):
    """No Exception."""


def _raise(error: BaseException) -> Any:
    raise error


MISCHIEF: Mapping[str, Callable[[], Any]] = {
    "raise": lambda: _raise(ValueError("two\nlines")),
    "base": lambda: _raise(OddError("odd")),
    "exit": lambda: sys.exit(0),
    "interrupt": lambda: _raise(KeyboardInterrupt()),
    "os._exit": lambda: os._exit(0),
    "segfault": lambda: ctypes.string_at(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "nan": lambda: {"value": math.nan},
    "surrogate": lambda: {"value": "\ud800"},
    "large": lambda: {"value": "x" * 9_000_000},
    "list": lambda: [1],
}


class Mischief(DatahubPlugin):
    """Ends as badly as it is told to."""

    Config = MischiefConfig

    def process(self, ctx: TaskContext[MischiefConfig]) -> Any:
        return MISCHIEF[ctx.config.way]()


class OddOutput(DatahubPlugin):
    """Leaves a file whose name is not Unicode."""

    def process(self, ctx: TaskContext[Any]) -> None:
        (ctx.output_dir / os.fsdecode(b"\xff")).write_text("x")


class OneOutput(DatahubPlugin):
    """Leaves one file."""

    def process(self, ctx: TaskContext[Any]) -> None:
        (ctx.output_dir / "one").write_text("one")
        (ctx.work_dir.parent.parent / "started").write_text(str(os.getpid()))


class Quick(DatahubPlugin):
    """Returns at once; says where, and how often it has run."""

    def process(self, ctx: TaskContext[Any]) -> Mapping[str, Any]:
        runs = ctx.work_dir.parent.parent / "runs"
        with runs.open("a") as file:
            file.write(".")
        return {"pid": os.getpid(), "attempt": ctx.attempt, "time": time.time_ns()}


class QuickInThread(Quick):
    """Asks for a thread."""

    isolation = "thread"


class Steps(DatahubPlugin):
    """Goes on until ``go`` appears in the state folder, a checkpoint at a time, saving state."""

    seen: ClassVar[list[str]] = []

    def process(self, ctx: TaskContext[Any]) -> Mapping[str, Any]:
        before = dict(ctx.state)
        (ctx.work_dir / f"attempt-{ctx.attempt}").touch()
        ctx.save_state(attempts=ctx.attempt)
        folder = ctx.work_dir.parent.parent
        (folder / "started").write_text(str(os.getpid()))
        percent = 0
        while not (folder / "go").exists():
            ctx.checkpoint()
            percent += 1
            ctx.progress(min(percent, 90))
            threading.Event().wait(0.02)
        files = sorted(path.name for path in ctx.work_dir.glob("attempt-*"))
        return {"before": before, "files": files, "attempt": ctx.attempt}

    def on_cancel(self, ctx: TaskContext[Any]) -> None:
        self._note(ctx, "cancel")

    def on_failure(self, ctx: TaskContext[Any], error: BaseException) -> None:
        self._note(ctx, "failure")

    def on_pause(self, ctx: TaskContext[Any]) -> None:
        self._note(ctx, "pause")

    def on_resume(self, ctx: TaskContext[Any]) -> None:
        self._note(ctx, "resume")

    def on_finish(self, ctx: TaskContext[Any], status: TaskStatus) -> None:
        self._note(ctx, f"finish {int(status)}")

    @staticmethod
    def _note(ctx: TaskContext[Any], what: str) -> None:
        with (ctx.work_dir.parent.parent / "hooks").open("a") as file:
            file.write(f"{what}\n")


class Stubborn(DatahubPlugin):
    """Ignores cancel and SIGTERM, with a child process that does, too."""

    def process(self, ctx: TaskContext[Any]) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = os.fork()
        folder = ctx.work_dir.parent.parent
        if child:
            (folder / "child").write_text(str(child))
            (folder / "started").write_text(str(os.getpid()))
        while True:
            time.sleep(60)


class Polite(DatahubPlugin):
    """Ends by itself at SIGTERM, as many a library makes it; or because a child of it does."""

    class Config(PluginConfig):
        child: bool = False

    def process(self, ctx: TaskContext[Config]) -> Mapping[str, Any]:
        folder = ctx.work_dir.parent.parent
        if ctx.attempt > 1:
            return dict(ctx.state)
        ctx.save_state(rows=7)
        if ctx.config.child:
            child = subprocess.Popen(["sleep", "600"])
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            (folder / "started").touch()
            raise RuntimeError(f"the child ended with {child.wait()}")
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        (folder / "started").touch()
        while True:
            time.sleep(60)

    def on_cancel(self, ctx: TaskContext[Config]) -> None:
        Steps._note(ctx, "cancel")

    def on_failure(self, ctx: TaskContext[Config], error: BaseException) -> None:
        Steps._note(ctx, "failure")


class Family(DatahubPlugin):
    """Has a child, a daemon in a session of its own, and a grandchild."""

    def process(self, ctx: TaskContext[Any]) -> None:
        subprocess.Popen(["sleep", "600"])
        subprocess.Popen(["sleep", "600"], start_new_session=True)
        subprocess.Popen(["sh", "-c", "sleep 600 & echo; wait"], stdout=subprocess.DEVNULL)
        (ctx.work_dir.parent.parent / "started").touch()
        time.sleep(600)


class Hungry(DatahubPlugin):
    """Takes memory until it is stopped: by its limit, by the kernel, or by hand."""

    class Config(PluginConfig):
        """``all``, ``limited`` or ``killed``."""

        way: str

    def process(self, ctx: TaskContext[Config]) -> None:
        if ctx.config.way == "limited":
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.RLIM_INFINITY))
        taken: list[bytes] = []
        while ctx.config.way != "killed" or len(taken) < 10:
            taken.append(b"x" * (16 << 20))
        os.kill(os.getpid(), signal.SIGKILL)


class Deaf(DatahubPlugin):
    """Ignores cancel, in a way that a thread survives."""

    def process(self, ctx: TaskContext[Any]) -> None:
        folder = ctx.work_dir.parent.parent
        (folder / "started").touch()
        while not (folder / "go").exists():
            threading.Event().wait(0.02)


class Greedy(DatahubPlugin):
    """Holds the interpreter's lock in C."""

    class Config(PluginConfig):
        """How long, in whole seconds."""

        seconds: int = Field(3)

    def process(self, ctx: TaskContext[Config]) -> None:
        (ctx.work_dir.parent.parent / "started").touch()
        ctypes.PyDLL(None).sleep(ctx.config.seconds)


class Forever(DatahubPlugin):
    """Has a time limit of its own."""

    timeout_seconds = 0.5

    def process(self, ctx: TaskContext[Any]) -> None:
        for _ in range(3000):
            ctx.checkpoint()
            threading.Event().wait(0.02)


class HangsAfter(DatahubPlugin):
    """Returns, and hangs in a hook after that."""

    def process(self, ctx: TaskContext[Any]) -> None:
        """Nothing."""

    def on_success(self, ctx: TaskContext[Any], result: Any) -> None:
        (ctx.work_dir.parent.parent / "hanging").write_text(str(os.getpid()))
        time.sleep(600)


class Threaded(DatahubPlugin):
    """Is paused in one of its threads, and returns in another."""

    def process(self, ctx: TaskContext[Any]) -> None:
        folder = ctx.work_dir.parent.parent
        (folder / "started").touch()

        def hold() -> None:
            while not (folder / "go").exists():
                ctx.checkpoint()
                threading.Event().wait(0.02)

        threading.Thread(target=hold, daemon=True).start()
        while not Path(folder / "go").exists():
            threading.Event().wait(0.02)


class Mirror(DatahubPlugin):
    """Uploads a copy of its input, which begins with ``salt`` where there is such a file."""

    def process(self, ctx: TaskContext[Any]) -> None:
        salt = ctx.work_dir.parent.parent / "salt"
        data = ctx.download().read_bytes()
        if salt.exists():
            data = salt.read_bytes() + data[salt.stat().st_size :]
        (ctx.output_dir / "mirror.bin").write_bytes(data)


class Forks(DatahubPlugin):
    """Forks a child that comes back out of ``process``, and waits for it."""

    class Config(PluginConfig):
        how: Literal["return", "raise", "exit"]

    def process(self, ctx: TaskContext[Config]) -> Mapping[str, Any]:
        child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)
            return {"parent": os.waitstatus_to_exitcode(status)}
        if ctx.config.how == "raise":
            raise ValueError("of the child")
        if ctx.config.how == "exit":
            sys.exit(7)
        return {"child": True}


class Chatters(DatahubPlugin):
    """Logs and prints long lines."""

    def process(self, ctx: TaskContext[Any]) -> None:
        for _ in range(20):
            ctx.log.info("a" * 65536)
            os.write(1, b"http://" * 40_000)


class Leaves(DatahubPlugin):
    """Ends its Datahub while it works, so that its result is kept."""

    isolation = "thread"
    datahub: ClassVar[Any] = None

    def process(self, ctx: TaskContext[Any]) -> Mapping[str, Any]:
        self.datahub.stop()
        return {"kept": True}


class Fills(DatahubPlugin):
    """Fills the disk that the state folder is on, as somebody else would, and ends, or does not."""

    class Config(PluginConfig):
        ending: Literal["return", "raise", "upload", "wait"] = "return"

    def process(self, ctx: TaskContext[Config]) -> Mapping[str, Any]:
        if ctx.config.ending == "upload":
            (ctx.output_dir / "one").write_text("one")
        ctx.save_state(half="done")
        (ctx.work_dir / "half").touch()
        size = 2**16
        with (ctx.work_dir.parent.parent / "filler").open("wb", buffering=0) as file:
            while size:
                try:
                    file.write(b"\0" * size)
                except OSError as error:
                    assert error.errno == errno.ENOSPC  # noqa: PT017 - no test
                    size //= 2
        if ctx.config.ending == "raise":
            raise RuntimeError("it failed")
        while ctx.config.ending == "wait":
            ctx.checkpoint()
            threading.Event().wait(0.01)
        return {"text": "x" * 20_000}


class Saves(DatahubPlugin):
    """Waits for ``go`` in the state folder, and saves state if it is told to."""

    class Config(PluginConfig):
        again: bool = False

    def process(self, ctx: TaskContext[Config]) -> Mapping[str, Any]:
        folder = ctx.work_dir.parent.parent
        ctx.save_state(number=1)
        (folder / "started").write_text(str(os.getpid()))
        while not (folder / "go").exists():
            threading.Event().wait(0.02)
        if ctx.config.again:
            ctx.save_state(number=2)
        return {"done": True}


class Halting(DatahubPlugin):
    """Moves twice: at ``go-1`` and at ``go-2``."""

    def process(self, ctx: TaskContext[Any]) -> None:
        for number in (1, 2):
            while not (ctx.work_dir.parent.parent / f"go-{number}").exists():
                threading.Event().wait(0.02)
            ctx.progress(number * 10)


class Rows(DatahubPlugin):
    """Is in the middle of a row until ``go`` appears, saves what it has done, and then checks."""

    def process(self, ctx: TaskContext[Any]) -> Mapping[str, Any]:
        folder = ctx.work_dir.parent.parent
        (folder / "started").touch()
        while not (folder / "go").exists():
            threading.Event().wait(0.02)
        found = ctx.state.get("rows", 0)
        ctx.save_state(rows=1)
        ctx.checkpoint()
        return {"found": found}

    def on_pause(self, ctx: TaskContext[Any]) -> None:
        Steps._note(ctx, "pause")

    def on_cancel(self, ctx: TaskContext[Any]) -> None:
        Steps._note(ctx, "cancel")


class OddState(DatahubPlugin):
    """Saves state with keys that JSON would make text of."""

    isolation = "thread"
    states: ClassVar[list[Any]] = [{1: 2}, {"rows": [{"deep": ({None: 1},)}]}, {True: 1}, {1.5: 1}]

    def process(self, ctx: TaskContext[Any]) -> Mapping[str, Any]:
        refused = []
        for state in self.states:
            try:
                ctx.save_state(state)
            except InvalidResultError as error:
                refused.append(str(error))
        return {"refused": refused, "state": ctx.state}
