"""Kills a supervisor at each step by which it finishes a subtask, and starts it again.

The steps are counted in Python: statements of the journal, and calls of the system that write,
sync, remove, connect, send and receive, from the moment the author's code has returned. By
``python -m benchmarks.injected`` they are also counted by strace, over the whole run: every system
call of those kinds, in any thread. Forking from a process that has everything imported makes a
run cheap.
"""

from __future__ import annotations

import functools
import itertools
import json
import logging
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from plugin_framework import DatahubPlugin, TaskContext
from plugin_framework.engines.local import JOURNAL, LocalEngine
from plugin_framework.isolation.session import Ending, Verdict
from plugin_framework.lifecycle.host import SupervisorHost
from plugin_framework.settings import load_settings
from tests.strict_datahub import StrictDatahub

SUBTASK = "task_abc_001_ingest"
OUTPUT = b"whole" * 1000
CALLS = ("fsync", "fdatasync", "rename", "replace", "unlink", "rmdir", "ftruncate", "pwrite")
SYSCALLS = ("fsync", "fdatasync", "rename", "unlink", "write", "pwrite64", "connect", "sendto")
MOST = 80
SURVIVED = 3
UNAVOIDABLE = {
    # The process died between the head and the body of a request.
    "API: the body is shorter than its Content-Length",
    # It died with the answer to a complete in its hands: the next run has to ask.
    "upload/complete of a completed upload",
}


class Small(DatahubPlugin):
    """Leaves one output and a mark, and returns what no second run would."""

    def process(self, ctx: TaskContext[Any]) -> dict[str, Any]:
        """Do it."""
        (ctx.output_dir / "out.bin").write_bytes(OUTPUT)
        with (ctx.work_dir.parent.parent / "marks").open("a") as marks:
            marks.write(".")
        return {"run": time.time_ns()}


class Steps:
    """Counts steps from ``armed`` on, and ends the process by SIGKILL before the one given.

    They are written to ``notes`` as they come, since nothing can be said after the last.
    """

    def __init__(self, fatal: int, notes: Path) -> None:
        self.armed = False
        self._left = fatal
        self._notes = notes.open("w")
        self._lock = threading.Lock()

    def step(self, name: str) -> None:
        """Take one."""
        with self._lock:
            if self.armed:
                self._notes.write(f"{name}\n")
                self._notes.flush()
                self._left -= 1
                if not self._left:
                    os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Have this process's calls counted, once the author's code has returned."""
        for name in CALLS:
            setattr(os, name, self._counted(name, getattr(os, name)))
        for name in ("connect", "send", "sendall", "recv"):
            method = getattr(socket.socket, name)
            setattr(socket.socket, name, self._counted(name, method))
        counting = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
                counting.step(f"sql {sql.split(maxsplit=1)[0]}")
                return super().execute(sql, *args)

        sqlite3.connect = functools.partial(  # type: ignore[assignment]  # the same, with a factory
            sqlite3.connect, factory=Connection
        )
        ended = SupervisorHost.ended

        def arm(self: SupervisorHost, ending: Ending) -> Verdict:
            counting.armed = True
            return ended(self, ending)

        SupervisorHost.ended = arm  # type: ignore[method-assign]  # where the finishing path begins

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def counted(*args: Any, **options: Any) -> Any:
            self.step(name)
            return call(*args, **options)

        return counted


class Starter:
    """A process that runs supervisors by forking, so that none has to import anything."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.injected", "fork"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def __call__(self, url: str, state: Path, fatal: int) -> int:
        """Run the subtask, to its end if ``fatal`` is 0; the exit code as of ``subprocess``."""
        assert self._process.stdin
        assert self._process.stdout
        print(job(url, state, fatal), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


@dataclass
class Findings:
    """What was counted: kills by the step they came before, repeats of the ending."""

    kills: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    delivered: int = 0
    repeats: int = 0
    wrong: list[str] = field(default_factory=list)


def main() -> None:
    """Kill at every step, by both ways of counting, and print what was found."""
    found = Findings()
    with Starter() as start:
        every_step(start, found)
    if shutil.which("strace"):
        for call in SYSCALLS:
            every_call(call, found)
    else:
        print("strace is not installed: its part is left out")
    print(f"{found.kills.total()} kills:", dict(found.kills))
    print(f"{found.resumed} ran again, {found.delivered} only delivered, {found.repeats} repeats")
    print(f"{len(found.wrong)} wrong", *found.wrong, sep="\n")
    sys.exit(1 if found.wrong else 0)


def every_step(start: Starter, found: Findings) -> None:
    """Kill before each step of the finishing path.

    Threads take turns as they like, so that a run may take a few steps less than another.
    """
    survived = 0
    for fatal in itertools.count(1):
        if survived == SURVIVED:
            return
        with tempfile.TemporaryDirectory() as folder, StrictDatahub(SUBTASK) as hub:
            state = Path(folder)
            code = start(hub.url, state, fatal)
            if code == -signal.SIGKILL:
                found.kills[(state / "steps").read_text().splitlines()[-1]] += 1
            else:
                survived += 1
            check(hub, state, f"step {fatal}", start, found)


def every_call(call: str, found: Findings) -> None:
    """Kill at each system call of a kind; strace counts them for each thread."""
    with Starter() as start:
        for number in range(1, MOST):
            with tempfile.TemporaryDirectory() as folder, StrictDatahub(SUBTASK) as hub:
                state = Path(folder)
                argv = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}"]
                argv += ["-e", f"inject={call}:signal=SIGKILL:when={number}", sys.executable]
                argv += ["-m", "benchmarks.injected", "run", job(hub.url, state, 0)]
                code = subprocess.run(argv, check=False).returncode
                killed = code in {-signal.SIGKILL, 128 + signal.SIGKILL}
                found.kills[call] += killed
                check(hub, state, f"{call} {number}", start, found)
                if not killed:
                    return


def check(hub: StrictDatahub, state: Path, where: str, start: Starter, found: Findings) -> None:
    """Start again, and see that nothing is lost, torn, doubled or done twice."""
    ended = journalled(state)
    before = marks(state)
    if start(hub.url, state, 0) != 0:
        found.wrong.append(f"{where}: the second start failed")
    if ended and marks(state) != before:
        found.wrong.append(f"{where}: ran again, with its result in the journal")
    broken = [said for said in hub.violations if said not in UNAVOIDABLE]
    if hub.statuses != [1, 3] or hub.outputs != {"out.bin": OUTPUT} or broken:
        said = f"statuses {hub.statuses}, outputs {list(hub.outputs)}, {broken}"
        found.wrong.append(f"{where}: {said}")
    found.delivered += ended
    found.resumed += not ended
    found.repeats += hub.repeats


def marks(state: Path) -> int:
    """How often the author's code ran."""
    path = state / "marks"
    return len(path.read_text()) if path.exists() else 0


def journalled(state: Path) -> bool:
    """Whether the journal holds the ending, without a trace of having looked."""
    path = state / JOURNAL
    if not path.exists():
        return False
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return bool(db.execute("SELECT 1 FROM reports WHERE outcome IS NOT NULL").fetchall())
    except sqlite3.OperationalError:  # no tables yet
        return False
    finally:
        db.close()


def job(url: str, state: Path, fatal: int) -> str:
    """What a supervisor is told."""
    return json.dumps({"url": url, "state": str(state), "fatal": fatal})


def supervise(told: dict[str, Any]) -> int:
    """Be a supervisor, and die before the step that is told."""
    if told["fatal"]:
        Steps(told["fatal"], Path(told["state"]) / "steps").install()
    logging.getLogger("datahub").addHandler(logging.NullHandler())
    settings = load_settings(
        base_url=told["url"],
        state_dir=Path(told["state"]),
        heartbeat_seconds=60,
        poll_seconds=0,
        isolation="thread",
        delivery_deadline=20,
    )
    with LocalEngine("benchmarks.injected:Small", settings) as engine:
        return engine.run(SUBTASK).execute().exit_code


def serve() -> None:
    """Fork a supervisor for each line of the input, and print how it ended."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                code = supervise(json.loads(line))
            finally:
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["fork"]:
        serve()
    elif sys.argv[1:2] == ["run"]:
        sys.exit(supervise(json.loads(sys.argv[2])))
    else:
        main()
