"""What is known of each task that was offered, and how it comes to be known.

All times are Unix seconds of this machine: the load, the emulator and whoever looks on share it.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from plugin_framework.protocol.models import TaskStatus

Answer = Literal["accepted", "busy", "refused", "none"]
"""What became of the call create_task: "none" where nobody answered it."""


@dataclass(slots=True)
class Task:
    """One task. ``due`` is when it was to be offered, whether the call could be made then or not.

    None stands for what has not happened. ``problem`` is why it was not accepted.
    """

    subtask_id: str
    due: float = 0.0
    answered: float | None = None
    answer: Answer | None = None
    problem: str = ""
    started: float | None = None
    ended: float | None = None
    status: TaskStatus = TaskStatus.INITIAL
    beats: list[float] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether nothing more is to be expected of it."""
        return self.ended is not None or self.answer in {"busy", "refused"}


class Ledger:
    """The tasks, filled from the state of the emulator that they are reported to.

    It only reads, beside the emulator, and so keeps nobody from writing.
    """

    def __init__(self, state_dir: Path, tasks: list[Task]) -> None:
        self._file = f"{(state_dir / 'datahub.sqlite3').absolute().as_uri()}?mode=ro"
        self._seen = 0
        self._by_id = {task.subtask_id: task for task in tasks}
        self.tasks = tasks

    def read(self) -> None:
        """Take in what was reported since the last time."""
        with closing(sqlite3.connect(self._file, uri=True)) as sql:
            rows = sql.execute(
                "SELECT number, at, subtask_id, kind, detail FROM events WHERE number > ?"
                " AND code = 0 AND kind IN ('status', 'heartbeat', 'result') ORDER BY number",
                (self._seen,),
            ).fetchall()
        for number, at, subtask_id, kind, detail in rows:
            self._seen = number
            task = self._by_id.get(subtask_id)
            if task is not None:
                _take(task, at, kind, detail)

    @property
    def over(self) -> bool:
        """Whether nothing more is to be expected."""
        return all(task.over for task in self.tasks)


def _take(task: Task, at: float, kind: str, detail: str) -> None:
    if kind == "heartbeat":
        task.beats.append(at)
        return
    status = TaskStatus.COMPLETED if kind == "result" else TaskStatus(json.loads(detail)["status"])
    task.status = status
    if status is TaskStatus.RUNNING and task.started is None:
        task.started = at
    elif status.is_final and task.ended is None:
        task.ended = at
