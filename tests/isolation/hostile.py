"""One plugin that does, in ``process``, what its config asks for: the worst that plugins do."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import field_validator

from plugin_framework import DatahubPlugin, PluginConfig, PluginError, TaskContext

HOUR = 3600


class OwnError(BaseException):
    pass


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Hostile(DatahubPlugin):
    """Does what it is told."""

    class Config(PluginConfig):
        do: str = ""
        text: str = ""

        @field_validator("do")
        @classmethod
        def _strange(cls, value: str) -> str:
            if value == "raise in validation":
                raise KeyError("odd")
            if value == "exit in validation":
                sys.exit(3)
            if value == "die in validation":
                os.kill(os.getpid(), signal.SIGKILL)
            return value

    def process(self, ctx: TaskContext[Config]) -> Any:
        return DEEDS[ctx.config.do](ctx)

    def on_finish(self, ctx: TaskContext[Config], status: int) -> None:
        print(f"finished with {status}")  # noqa: T201 - it is to arrive as a log line


class FailsToStart(DatahubPlugin):
    """Cannot even be made."""

    def __init__(self) -> None:
        sys.exit("no")

    def process(self, ctx: TaskContext[Any]) -> None:
        """Never called."""


DEEDS: dict[str, Callable[[TaskContext[Any]], Any]] = {}


def deed(function: Callable[[TaskContext[Any]], Any]) -> Callable[[TaskContext[Any]], Any]:
    DEEDS[function.__name__.replace("_", " ")] = function
    return function


def _raises(name: str, make: Callable[[], BaseException]) -> None:
    def do(ctx: TaskContext[Any]) -> None:
        raise make()

    DEEDS[name] = do


_raises("ValueError", lambda: ValueError("bad"))
_raises("SystemExit", lambda: SystemExit(0))
_raises("KeyboardInterrupt", KeyboardInterrupt)
_raises("OwnError", lambda: OwnError("own"))
_raises("PluginError", lambda: PluginError("for people"))
_raises("UnprintableError", UnprintableError)
_raises("surrogate", lambda: ValueError("\ud800"))
_raises("long", lambda: ValueError("x" * 70_000_000))


@deed
def nothing(ctx: TaskContext[Any]) -> None:
    pass


@deed
def length(ctx: TaskContext[Any]) -> Any:
    return {"length": len(ctx.config.text)}


@deed
def big_result(ctx: TaskContext[Any]) -> Any:
    return {"text": "é" * (4 * 1024 * 1024 - 10)}


def _nested(depth: int) -> Any:
    if depth >= sys.getrecursionlimit():
        sys.setrecursionlimit(5 * depth)
    found: list[Any] = []
    for _ in range(depth - 1):
        found = [found]
    return found


@deed
def deep_result(ctx: TaskContext[Any]) -> Any:
    return {"x": _nested(int(ctx.config.text) - 1)}


@deed
def deep_state(ctx: TaskContext[Any]) -> None:
    ctx.save_state(x=_nested(int(ctx.config.text) - 1))


@deed
def long_number(ctx: TaskContext[Any]) -> Any:
    sys.set_int_max_str_digits(0)
    return {"x": 10 ** int(ctx.config.text)}


@deed
def long_number_in_state(ctx: TaskContext[Any]) -> None:
    sys.set_int_max_str_digits(0)
    ctx.save_state(x=10 ** int(ctx.config.text))


@deed
def half_a_message(ctx: TaskContext[Any]) -> None:
    _write_to_sockets(b"\0\0\0\x20{")
    os.kill(os.getpid(), signal.SIGKILL)


@deed
def os_exit(ctx: TaskContext[Any]) -> None:
    os._exit(0)


@deed
def segfault(ctx: TaskContext[Any]) -> None:
    ctypes.string_at(0)


@deed
def sigkill(ctx: TaskContext[Any]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@deed
def realtime_signal(ctx: TaskContext[Any]) -> None:
    os.kill(os.getpid(), 40)


@deed
def kill_parent(ctx: TaskContext[Any]) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(HOUR)


@deed
def hang(ctx: TaskContext[Any]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ctx.progress(1)
    time.sleep(HOUR)


@deed
def checkpoints(ctx: TaskContext[Any]) -> None:
    ctx.progress(1)
    while True:
        ctx.checkpoint()
        time.sleep(0.001)


@deed
def leak(ctx: TaskContext[Any]) -> Any:
    """Leave a thread, a child, a grandchild, a daemon and a file behind."""
    threading.Thread(target=time.sleep, args=(HOUR,)).start()
    child = subprocess.Popen(["sleep", "3600"])
    shell = subprocess.Popen("sleep 3600 & echo $!; wait", shell=True, stdout=subprocess.PIPE)
    assert shell.stdout is not None
    daemon = subprocess.Popen(["sleep", "3600"], start_new_session=True)
    os.open("/dev/null", os.O_RDONLY)
    return {"pids": [child.pid, shell.pid, int(shell.stdout.readline()), daemon.pid]}


@deed
def daemon_then_hang(ctx: TaskContext[Any]) -> None:
    daemon = subprocess.Popen(["sleep", "3600"], start_new_session=True)
    written = ctx.work_dir / "pids.new"
    written.write_text(str(daemon.pid))
    written.rename(ctx.work_dir / "pids")
    time.sleep(HOUR)


@deed
def command_then_sigkill(ctx: TaskContext[Any]) -> None:
    pids = "echo $$ $! > pids.new; mv pids.new pids"
    arguments = ["sh", "-c", f"cd {ctx.work_dir}; sleep 3600 & {pids}; kill -9 $PPID; wait"]
    ctx.run(arguments)


@deed
def print_much(ctx: TaskContext[Any]) -> None:
    print("printed")  # noqa: T201 - the point
    os.write(1, b"from C\n")
    os.write(2, b"on stderr\n")
    print("hh " * 100_000)  # noqa: T201 - the point
    print("no newline", end="")  # noqa: T201 - the point


@deed
def log_much(ctx: TaskContext[Any]) -> None:
    ctx.log.warning("careful, %s", "you")
    logging.getLogger("somewhere.else").info("from a library")
    try:
        int("inner")
    except ValueError:
        ctx.log.exception("it failed")
    ctx.log.info("\ud800 alone")
    ctx.log.info("l" * 70_000_000)


@deed
def garbage(ctx: TaskContext[Any]) -> None:
    _write_to_sockets(ctx.config.text.encode("latin-1"))
    time.sleep(HOUR)


def _write_to_sockets(data: bytes) -> None:
    for link in Path("/proc/self/fd").iterdir():
        fd = int(link.name)
        if fd > 2 and link.is_symlink() and link.readlink().name.startswith("socket:"):
            os.write(fd, data)


@deed
def environment(ctx: TaskContext[Any]) -> Any:
    return {"own": dict(os.environ), "parent": Path(f"/proc/{os.getppid()}/environ").read_text()}


@deed
def memory(ctx: TaskContext[Any]) -> Any:
    """Count a text in this process's memory and its parent's; it is given turned around."""
    turned = ctx.config.text.encode()
    return {"found": [_occurs(pid, turned) for pid in (os.getpid(), os.getppid())]}


def _occurs(pid: int, turned: bytes) -> int:
    found = 0
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            area, rights, *_ = line.split()
            start, end = (int(part, 16) for part in area.split("-"))
            if rights.startswith("rw"):
                memory.seek(start)
                found += _count(memory.read(end - start), turned)
    return found


def _count(data: bytes, turned: bytes) -> int:
    start, found = turned[:-8:-1], 0
    at = data.find(start)
    while at >= 0:
        found += data[at : at + len(turned)][::-1] == turned
        at = data.find(start, at + 1)
    return found


@deed
def random_number(ctx: TaskContext[Any]) -> Any:
    return {"number": float(np.random.rand())}  # noqa: NPY002 - the global one is the point


@deed
def ask(ctx: TaskContext[Any]) -> Any:
    ctx.save_state(seen=1)
    with ctx.open_input() as file:
        file.seek(2)
        data = file.read(3).decode()
    path = ctx.download("x")
    ctx.progress(50)
    stored = ctx.upload(path, "y")
    return {"data": data, "path": str(path), "stored": [stored.name, stored.size]}
