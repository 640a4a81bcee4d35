"""A supervisor that remembers what a task asks of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from plugin_framework.isolation.session import Ending, Verdict
from plugin_framework.isolation.worker_exit import WorkerExit
from plugin_framework.plugin.context import TaskFacts, UploadedFile
from plugin_framework.protocol.models import TaskStatus

DEADLINE = 30.0


class RecordingHost:
    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.endings: list[Ending] = []
        self.discarded: list[str] = []
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.states: list[Mapping[str, Any]] = []
        self.percents: list[float] = []
        self.confirmed: list[TaskStatus] = []
        self.reads: list[tuple[int, int]] = []
        self.moved = threading.Event()
        self.held = threading.Event()
        self.gone = threading.Event()
        self.exit: WorkerExit | None = None
        self.error: BaseException | None = None
        self.judge: Callable[[Ending], TaskStatus] = _judge

    def download(self, name: str | None) -> Path:
        if self.error is not None:
            raise self.error
        return Path("/input") / (name or "input")

    def input_size(self) -> int:
        return len(self.data)

    def read_input(self, offset: int, size: int) -> bytes:
        self.reads.append((offset, size))
        return self.data[offset : offset + size]

    def upload(self, path: Path, name: str | None) -> UploadedFile:
        return UploadedFile(name or path.name, 7, None)

    def open_output(self, name: str, size: int | None) -> Path:
        return Path(name)

    def close_output(self, name: str) -> UploadedFile:
        return UploadedFile(name, 7, None)

    def discard_output(self, name: str) -> None:
        self.discarded.append(name)

    def progress(self, percent: float) -> None:
        self.percents.append(percent)
        self.moved.set()

    def tell(self, kind: str, facts: Mapping[str, Any]) -> None:
        self.told.append((kind, dict(facts)))

    def save_state(self, state: Mapping[str, Any]) -> None:
        self.states.append(dict(state))

    def confirm(self, status: TaskStatus) -> None:
        self.confirmed.append(status)
        if status is TaskStatus.PAUSED:
            self.held.set()

    def ended(self, ending: Ending) -> Verdict:
        self.endings.append(ending)
        if self.error is not None:
            raise self.error
        return Verdict(int(self.judge(ending)), ending.error)

    def exited(self, how: WorkerExit) -> None:
        self.exit = how
        self.gone.set()

    def wait(self) -> WorkerExit:
        assert self.gone.wait(DEADLINE), "the worker did not end"
        assert self.exit is not None
        return self.exit

    @property
    def ending(self) -> Ending:
        (only,) = self.endings
        return only


def _judge(ending: Ending) -> TaskStatus:
    return {
        "returned": TaskStatus.COMPLETED,
        "failed": TaskStatus.FAILED,
        "cancelled": TaskStatus.CANCELLED,
    }[ending.kind]


def facts(work_dir: Path, config: Mapping[str, Any] | None = None) -> TaskFacts:
    return TaskFacts("s", "t", 1, str(work_dir), config or {}, {})
