"""The extension that watches a task from within, where the plugin's hooks run.

It is declared to the plugin's process alone. Orders are in a folder beside the task's own, and
what is seen goes there; a task without orders is left as it is.
"""

from __future__ import annotations

import itertools
import json
import os
import site
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

from plugin_framework.errors import PluginError
from plugin_framework.plugin.context import TaskContext
from plugin_framework.plugin.hookspecs import hookimpl
from plugin_framework.testing.conformance.processes import command_of, is_alive, tree

MARK = "CONFORMANCE_RUN"
"""The environment variable by which a task's processes are known, wherever they went."""

SECRET = "CONFORMANCE_SECRET"  # noqa: S105 - the variable's name
"""The environment variable that holds what no plugin may tell."""

ORDERS = "orders.json"

HOLD_SECONDS = 60.0
STEP_SECONDS = 0.005

_WRITE_MODES = ("a", "w", "x", "+")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# Of each event the argument that is written to, and that of a folder it may be relative to.
_WRITES = {
    "os.mkdir": (0, 2),
    "os.rename": (1, 3),
    "os.link": (1, 3),
    "os.symlink": (1, 2),
    "os.remove": (0, 1),
    "os.rmdir": (0, 1),
    "os.truncate": (0, None),
}
# Python's own, which end when the process does.
_HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")

Wrapper = Generator[None, Any, None]


def folder_beside(work_dir: Path) -> Path:
    """Where the orders for a task are."""
    return work_dir.parents[1] / "conformance" / work_dir.name


def home_of(folder: Path) -> dict[str, str]:
    """The variables that make ``folder`` the place of the user's files.

    All runs share a cache: what libraries keep there takes seconds to make.
    """
    home, cache = folder / "home", folder.parent / "cache"
    cache.mkdir(exist_ok=True)
    (home / ".cache").symlink_to(cache)
    return {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(cache),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local" / "share"),
        "XDG_STATE_HOME": str(home / ".local" / "state"),
        # What was installed for the user alone is still found.
        "PYTHONUSERBASE": site.getuserbase(),
    }


@contextmanager
def at_home(folder: Path) -> Iterator[None]:
    """Have what runs in this process find the user's files in ``folder`` meanwhile."""
    variables = home_of(folder)
    before = {name: os.environ[name] for name in variables if name in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)
        os.environ.update(before)


class Probe:
    """Watches the hooks of one task."""

    def __init__(self) -> None:
        self._task: Watched | None = None

    @hookimpl(wrapper=True)
    def on_start(self, ctx: TaskContext[Any]) -> Wrapper:
        """Take the orders, and move to the folders that the task may use."""
        folder = folder_beside(ctx.work_dir)
        if (folder / ORDERS).is_file():
            self._task = Watched(ctx, folder)
            self._task.begin()
        with self._seen():
            yield

    @hookimpl(wrapper=True)
    def process(self, ctx: TaskContext[Any]) -> Wrapper:  # noqa: ARG002 - pluggy's own names
        """Count checkpoints and progress, and hold the task where the orders say so."""
        with self._seen() as task:
            if task is not None:
                task.work()
            yield
            if task is not None:
                task.note("returned", **task.counted())

    @hookimpl(wrapper=True)
    def on_finish(self, ctx: TaskContext[Any], status: Any) -> Wrapper:  # noqa: ARG002 - as above
        """See what is left when all hooks are over."""
        yield
        if self._task is not None:
            self._task.note("finished", left=list(_left_behind()))

    def _seen(self) -> Seen:
        return Seen(self._task)


class Seen:
    """Notes what leaves the block."""

    def __init__(self, task: Watched | None) -> None:
        self._task = task

    def __enter__(self) -> Watched | None:
        return self._task

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None and self._task is not None:
            clean = isinstance(error, PluginError)
            self._task.note("raised", type=type(error).__name__, clean=clean)


class Watched:
    """One task, and the folder in which what it does is noted."""

    def __init__(self, ctx: TaskContext[Any], folder: Path) -> None:
        self._ctx = ctx
        self._folder = folder
        orders = json.loads((folder / ORDERS).read_text("utf-8"))
        self._hold_at: int | None = orders["hold_at"]
        self._secret: str = orders["secret"]
        self._numbers = itertools.count(1)
        # Figures only: what is looked at here must not show in the plugin's memory.
        self._told = 0
        self._percent = self._first = self._highest = 0.0
        self._fell = False
        self._last = self._gap = 0.0
        self._gap_after = 0

    def begin(self) -> None:
        """Move to folders of the task's own, and watch what is written elsewhere."""
        os.environ[MARK], os.environ[SECRET] = str(self._folder), self._secret
        # What is imported later is still looked for where the plugin was started.
        sys.path[:] = [str(Path(one).absolute()) for one in sys.path]
        os.chdir(self._folder / "cwd")
        os.environ["TMPDIR"] = str(self._folder / "tmp")
        tempfile.tempdir = None
        # A library that was loaded before may know the user's own cache.
        caches = (platformdirs.user_cache_path(), self._folder.parent / "cache")
        os.environ.update(home_of(self._folder))
        own = ("tmp", "facts.jsonl", "home/.config")
        allowed = (self._ctx.work_dir, *caches, *(self._folder / name for name in own))
        sys.addaudithook(Auditor(allowed, lambda path: self.note("wrote", path=path)))
        self.note("began", pid=os.getpid())

    def work(self) -> None:
        """The author's ``process`` begins."""
        ctx = self._ctx
        ctx.checkpoint = self._counting(ctx.checkpoint)  # type: ignore[method-assign]  # this task's
        ctx.progress = self._noting(ctx.progress)  # type: ignore[method-assign, assignment]  # this task's
        if self._hold_at == 0:
            self._hold()
            self.note("passed")
        self._last = time.monotonic()

    def note(self, fact: str, **detail: Any) -> None:
        """Write a line; whole, whichever process or thread writes at the same time."""
        line = json.dumps({"fact": fact, **detail}) + "\n"
        fd = os.open(self._folder / "facts.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(fd, line.encode())
        finally:
            os.close(fd)

    def counted(self) -> dict[str, Any]:
        """What ``process`` did, in figures."""
        checkpoints = next(self._numbers) - 1
        self._measure(checkpoints)
        return {
            "checkpoints": checkpoints,
            "gap": self._gap,
            "gap_after": self._gap_after,
            "progress": self._told,
            "first": self._first,
            "highest": self._highest,
            "fell": self._fell,
        }

    # A plugin may call these for every line of its input: they must cost next to nothing.

    def _counting(self, real: Callable[..., None]) -> Callable[..., None]:
        numbers, hold_at = self._numbers, self._hold_at

        def checkpoint(*args: Any, **kwargs: Any) -> None:
            number = next(numbers)
            self._measure(number - 1)
            if number == hold_at:
                self._hold()
            real(*args, **kwargs)
            if number == hold_at:
                self.note("passed")
            self._last = time.monotonic()

        return checkpoint

    def _measure(self, number: int) -> None:
        """See how long it is since the checkpoint of that number."""
        gap = time.monotonic() - self._last
        if gap > self._gap:
            self._gap, self._gap_after = gap, number

    def _noting(self, real: Callable[[float], None]) -> Callable[[float], None]:
        def progress(percent: float) -> None:
            real(percent)
            self._told += 1
            if self._told == 1:
                self._first = percent
            if percent < self._percent:
                self._fell = True
            elif percent > self._highest:
                self._highest = percent
            self._percent = percent

        return progress

    def _hold(self) -> None:
        """Stay here until the order is there that the task is held for."""
        self.note("held")
        go, ctx = self._folder / "go", self._ctx
        deadline = time.monotonic() + HOLD_SECONDS
        nobody = threading.Event()
        while not (ctx.paused or ctx.cancelled or go.exists()) and time.monotonic() < deadline:
            nobody.wait(STEP_SECONDS)


class Auditor:
    """Hears of every file that Python code writes, and tells of those that are not ``allowed``."""

    def __init__(self, allowed: tuple[Path, ...], tell: Callable[[str], None]) -> None:
        places = (*allowed, Path("/dev"), Path("/proc"))
        self._allowed = tuple(os.path.realpath(place) for place in places)
        self._told: set[str] = set()
        self._tell = tell

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        """One event of the interpreter."""
        written = _written(event, args)
        if written is None:
            return
        path = os.path.realpath(written)
        if path in self._told or self._may(path):
            return
        self._told.add(path)
        self._tell(path)

    def _may(self, path: str) -> bool:
        if "__pycache__" in path:
            return True
        return any(path == place or path.startswith(f"{place}/") for place in self._allowed)


def _written(event: str, args: tuple[Any, ...]) -> str | None:
    """The path that an event writes to; None if it writes to none, or to one that is not told."""
    if event == "open":
        path, mode, flags = args
        writes = any(sign in (mode or "") for sign in _WRITE_MODES) or bool(flags & _WRITING)
    elif event in _WRITES:
        place, relative_to = _WRITES[event]
        path = args[place]
        writes = relative_to is None or args[relative_to] == -1
    else:
        return None
    if not writes or not isinstance(path, str | bytes | os.PathLike):
        return None
    return os.fsdecode(path)


def _left_behind() -> Iterator[str]:
    """The commands of the processes that this one has started, and not ended."""
    for pid in tree(os.getpid()):
        if pid != os.getpid() and is_alive(pid):
            command = command_of(pid)
            if command and not any(helper in command for helper in _HELPERS):
                yield command[:200]
