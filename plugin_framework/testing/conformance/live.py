"""A task that is being tried: what may be asked of it while it runs, and what it leaves."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plugin_framework.emulator.rules import Refused
from plugin_framework.emulator.store import Store
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.testing.conformance import processes
from plugin_framework.testing.conformance.probe import folder_beside

PATIENCE_SECONDS = 30.0
_STEP_SECONDS = 0.01


class Live:
    """A subtask, and the folder in which the probe is told what to do, and notes what it sees."""

    def __init__(
        self, subtask_id: str, store: Store, work_dir: Path, name: str, canary: str
    ) -> None:
        self.subtask_id = subtask_id
        self.input = name
        self.folder: Path = folder_beside(work_dir)
        self.seen: dict[str, Any] = {}
        self._store = store
        self._work_dir = work_dir
        self._canary = canary

    def order(self, hold_at: int | None) -> None:
        """Say where the next attempt is to be held; what the last one saw is forgotten."""
        for place in ("cwd", "tmp", "home"):
            shutil.rmtree(self.folder / place, ignore_errors=True)
            (self.folder / place).mkdir(parents=True)
        (self.folder / "facts.jsonl").unlink(missing_ok=True)
        orders = {"hold_at": hold_at, "secret": self._canary}
        (self.folder / "orders.json").write_text(json.dumps(orders), "utf-8")

    @property
    def facts(self) -> list[dict[str, Any]]:
        """What the probe has noted so far; a line that is being written is not."""
        try:
            text = (self.folder / "facts.jsonl").read_text("utf-8")
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    @property
    def pid(self) -> int | None:
        """The plugin's process, once it has begun."""
        return next((fact["pid"] for fact in self.facts if fact["fact"] == "began"), None)

    @property
    def left(self) -> list[str]:
        """The files in the folders that should be empty when the task is over."""
        kinds = {"cwd": "in the current folder", "tmp": "among the temporary files"}
        found = [
            f"{path.name} {told}"
            for kind, told in kinds.items()
            if (self.folder / kind).is_dir()
            for path in sorted((self.folder / kind).iterdir())
        ]
        # Libraries make folders there as they are loaded. The cache is a link elsewhere.
        home = self.folder / "home"
        files = sorted(path.relative_to(home) for path in home.rglob("*") if not path.is_dir())
        return [*found, *(f"{path} in the home folder" for path in files)]

    @property
    def status(self) -> TaskStatus:
        """What the plugin has reported."""
        return self._store.subtask(self.subtask_id).status

    def is_held(self, unless: Callable[[], bool] = lambda: False) -> bool:
        """Wait until the probe holds the task; False if it ends before."""

        def held() -> bool:
            return any(fact["fact"] == "held" for fact in self.facts)

        wait_until(lambda: held() or self.status.is_final or unless())
        return held()

    def has_passed(self) -> bool:
        """Wait until the task is past the checkpoint at which it was held."""
        return wait_until(
            lambda: self.status.is_final or any(fact["fact"] == "passed" for fact in self.facts)
        )

    def is_gone(self) -> bool:
        """Wait until the plugin's process has ended; False if it does not."""
        pid = self.pid
        return pid is None or wait_until(lambda: not processes.is_alive(pid))

    def ask(self, status: TaskStatus) -> bool:
        """Ask for a status as an operator does, and wait for it; whether it came."""
        try:
            self._store.set_status(self.subtask_id, status)
        except Refused:  # it has ended
            return False
        wait_until(lambda: self.status is status or self.status.is_final)
        return self.status is status

    def is_up_to_date(self) -> bool:
        """Wait for two more heartbeats: the second was made when the first had been answered."""
        events = self._store.events(self.subtask_id)
        last = events[-1].number if events else 0

        def beats() -> int:
            newer = self._store.events(self.subtask_id, after=last)
            return sum(event.kind == "heartbeat" for event in newer)

        return wait_until(lambda: beats() >= 2)  # noqa: PLR2004 - as said

    def let_go(self) -> None:
        """Have the probe hold the task no longer, whatever it waits for."""
        (self.folder / "go").touch()

    def footprint(self) -> dict[str, tuple[int, int]]:
        """The files of the work folder, with their sizes and times of change."""
        found = {}
        for path in self._work_dir.rglob("*"):
            try:
                facts = path.stat()
            except OSError:
                continue  # gone meanwhile
            if path.is_file():
                name = str(path.relative_to(self._work_dir))
                found[name] = (facts.st_size, facts.st_mtime_ns)
        return found

    @property
    def percent(self) -> int:
        """The progress that Datahub knows."""
        return self._store.subtask(self.subtask_id).progress


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> bool:
    """Wait for a condition of another process; whether it came true in time."""
    deadline = time.monotonic() + seconds
    nobody = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        nobody.wait(_STEP_SECONDS)
    return True
