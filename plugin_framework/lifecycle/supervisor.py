"""What a run is given: its task, and what all tasks of this process share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from plugin_framework.isolation.session import TaskHost
from plugin_framework.isolation.worker_exit import WorkerExit
from plugin_framework.journal.journal import Report
from plugin_framework.journal.uploads import KeptPart, KeptUpload, Output
from plugin_framework.lifecycle.clock import REAL, Clock
from plugin_framework.lifecycle.folders import make_work_dir
from plugin_framework.lifecycle.heartbeat import Ticking
from plugin_framework.lifecycle.polling import Polls
from plugin_framework.lifecycle.progress import Highest, HighestPercent
from plugin_framework.lifecycle.watch import Worker
from plugin_framework.plugin.context import TaskFacts
from plugin_framework.protocol.client import DatahubClient
from plugin_framework.settings import Settings
from plugin_framework.transfer.engine import Engine


class Isolation(Protocol):
    """Where a plugin's tasks run."""

    def info(self) -> Mapping[str, Any]:
        """The plugin's ``isolation`` and ``timeout_seconds``."""

    def check(self, config: Mapping[str, Any]) -> None:
        """Validate a config."""

    def start(
        self, facts: TaskFacts, host: TaskHost, on_exit: Callable[[WorkerExit], None]
    ) -> Worker:
        """Start the hooks of a task."""

    def close(self) -> None:
        """End what still runs."""


class Observer(Protocol):
    """Told what happens, by pluggy's names; see ``plugin.hookspecs.ObserverHooks``."""

    def tell(self, hook: str, **facts: Any) -> None:
        """Call an observing hook, some time soon."""

    def ask(self, hook: str, **facts: Any) -> list[Any]:
        """Call one now, and return its answers."""

    def close(self) -> None:
        """Call what is queued, and stop."""


class Notes(Protocol):
    """What happened, for people; see ``journal.timeline.Timeline``."""

    def note(self, subtask_id: str, kind: str, **detail: Any) -> None:
        """Note an event."""

    def count(self, subtask_id: str, kind: str) -> None:
        """Note an event that recurs."""


class RunUploads(Protocol):
    """What a run keeps of its uploads; see ``journal.uploads.UploadLog``."""

    def outputs(self, subtask_id: str) -> list[Output]:
        """All files of a subtask that are in storage."""

    def find(self, subtask_id: str, name: str) -> KeptUpload | None:
        """The last upload of that name."""

    def begin(
        self,
        subtask_id: str,
        name: str,
        *,
        upload_id: str,
        size: int,
        chunk: int,
        part_size: int = 0,
        urls: Sequence[str],
    ) -> None:
        """Note a new upload."""

    def keep(
        self,
        subtask_id: str,
        name: str,
        upload_id: str,
        index: int,
        part: KeptPart,
        *,
        several: bool,
    ) -> None:
        """Note that a part is stored."""

    def complete(self, subtask_id: str, output: Output, upload_id: str, *, durable: bool) -> None:
        """List an output that is complete."""

    def forget(self, subtask_id: str) -> None:
        """The subtask has ended."""


class RunJournal(Protocol):
    """What a run keeps, so that it survives a crash; see ``journal.journal.Journal``.

    ``shared``: it is kept for other machines, too, so that what it says of earlier attempts holds
    though their files are not here.
    """

    @property
    def shared(self) -> bool:
        """See above."""

    @property
    def uploads(self) -> RunUploads:
        """What of its uploads is in storage."""

    @property
    def timeline(self) -> Notes:
        """What happened, for people."""

    def start_attempt(
        self, subtask_id: str, *, task_id: str | None, plugin: str, config: Mapping[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        """Note another attempt; returns its number and the state saved before it."""

    def forget_attempt(self, subtask_id: str, attempt: int, report_id: int = 0) -> None:
        """Undo ``start_attempt``, and the report of it."""

    def forget(self, subtask_id: str) -> None:
        """Remove all there is of a subtask."""

    def save_state(self, subtask_id: str, state: Mapping[str, Any]) -> None:
        """Keep the state that the next attempt is to start from."""

    def add_report(
        self,
        subtask_id: str,
        *,
        status: int,
        path: str,
        body: bytes,
        outcome: Mapping[str, Any] | None = None,
    ) -> Report:
        """Keep a report until it is settled; returns what is to be sent."""

    def settle_report(self, report_id: int, fate: Literal["delivered", "refused"]) -> None:
        """Note what Datahub made of a report."""

    def pending_reports(self, subtask_id: str) -> list[Report]:
        """What is still to be sent, in order."""

    def ending(self, subtask_id: str) -> Report | None:
        """The terminal report."""

    def is_sound(self) -> bool:
        """Whether the next start will find it in order."""

    def hurry(self, seconds: float) -> None:
        """Wait for others no longer than this from now."""


@dataclass(frozen=True, slots=True)
class Task:
    """A subtask to run: ``config`` is the plain JSON that Datahub gave.

    ``node`` is the name of the process that runs it for a cluster, and ``taken_over`` whether the
    attempt before it, wherever that was, was broken off. Its folder and its lock are named after
    the ``place``, if not after the subtask.
    """

    subtask_id: str
    task_id: str | None
    plugin: str
    config: Mapping[str, Any]
    node: str | None = None
    taken_over: bool = False
    place: str = ""

    @property
    def folder_id(self) -> str:
        """What its folder and its lock are named after."""
        return self.place or self.subtask_id


@dataclass(frozen=True, slots=True)
class Supervisor:
    """What all tasks of this process share.

    ``make_work_dir`` makes a subtask's folder below the state folder, and says whether it is a new
    one; ``highest`` keeps the progress that was reported, in that file if it keeps it in one.
    """

    settings: Settings
    client: DatahubClient
    journal: RunJournal
    engine: Engine
    ticker: Ticking
    polls: Polls
    observer: Observer
    clock: Clock = REAL
    make_work_dir: Callable[[Path, str], bool] = make_work_dir
    highest: Callable[[Path], Highest] = HighestPercent


def time_limit(settings: Settings, isolation: Isolation) -> float:
    """Seconds that one attempt may take; 0 for any time. It waits for the plugin's import."""
    chosen = settings.timeout_seconds
    if "timeout_seconds" not in settings.model_fields_set:
        chosen = isolation.info()["timeout_seconds"] or chosen
    return float(chosen or 0)
