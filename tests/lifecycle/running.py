"""Runs plugins against a strict Datahub: in this process, or by the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from plugin_framework import DatahubPlugin, TaskOutcome, run_task
from plugin_framework.engines.local import LocalEngine
from plugin_framework.settings import Settings, load_settings
from tests.strict_datahub import StrictDatahub

SUBTASK = "task_abc_001_ingest"
ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("datahub-plugin")
QUICK: Mapping[str, Any] = {
    "heartbeat_seconds": 0.1,
    "poll_seconds": 0.1,
    "startup_deadline": 5,
    "delivery_deadline": 10,
    "grace_seconds": 5,
}


def settings_for(hub: StrictDatahub, state_dir: Path, **changes: Any) -> Settings:
    return load_settings(**{**QUICK, "base_url": hub.url, "state_dir": state_dir, **changes})


def run(
    plugin: type[DatahubPlugin],
    hub: StrictDatahub,
    state_dir: Path,
    config: Mapping[str, Any] | None = None,
    **changes: Any,
) -> TaskOutcome:
    subtask_id = changes.pop("subtask_id", SUBTASK)
    settings = settings_for(hub, state_dir, **changes)
    return run_task(plugin, subtask_id=subtask_id, settings=settings, config=config)


def eventually(condition: Callable[[], object], timeout: float = 20) -> None:
    """Poll a condition that nothing announces, such as a file of another process."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        threading.Event().wait(0.01)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone(pid: int) -> None:
    """Wait for the end of a process that is not our child."""
    eventually(lambda: not alive(pid))


class Background:
    """A run on a thread of its own; leaving the context waits for its outcome."""

    def __init__(
        self, plugin: type[DatahubPlugin], hub: StrictDatahub, state_dir: Path, **changes: Any
    ) -> None:
        self.outcome: TaskOutcome | None = None
        self.error: BaseException | None = None
        self._engine = LocalEngine(plugin, settings_for(hub, state_dir, **changes))
        self.run = self._engine.run(SUBTASK)
        self._thread = threading.Thread(target=self._execute)

    def _execute(self) -> None:
        try:
            self.outcome = self.run.execute()
        except BaseException as error:  # noqa: BLE001 - for `ended` to show
            self.error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None:
                self.run.cancel()
            self._thread.join(30)
            assert not self._thread.is_alive(), "the run does not end"
        finally:
            self._engine.close()

    @property
    def ended(self) -> TaskOutcome:
        self._thread.join(30)
        assert self.outcome is not None, self.error
        return self.outcome


def start(
    plugin: type[DatahubPlugin],
    hub: StrictDatahub,
    state_dir: Path,
    *arguments: str,
    prefix: Sequence[str] = (),
    **variables: Any,
) -> subprocess.Popen[str]:
    """The real command, in a process of its own, behind another one if there is a ``prefix``."""
    merged = {**QUICK, "base_url": hub.url, "state_dir": state_dir, **variables}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DATAHUB_")}
    environment |= {f"DATAHUB_{k.upper()}": str(v) for k, v in merged.items()}
    reference = f"{plugin.__module__}:{plugin.__qualname__}"
    return subprocess.Popen(
        [*prefix, COMMAND, "run", reference, "--subtask-id", SUBTASK, *arguments],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], timeout: float = 30) -> tuple[int, Any, str]:
    """Exit code, outcome (None if nothing was printed) and stderr."""
    try:
        printed, said = process.communicate(timeout=timeout)
    finally:
        process.kill()
        process.wait()
    return process.returncode, json.loads(printed) if printed else None, said
