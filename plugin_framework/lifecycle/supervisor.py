"""What a run is given: its task, and what all tasks of this process share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from plugin_framework.isolation.process import WorkerExit
from plugin_framework.isolation.session import TaskHost
from plugin_framework.journal.journal import Journal
from plugin_framework.lifecycle.clock import REAL, Clock
from plugin_framework.lifecycle.heartbeat import Ticking
from plugin_framework.lifecycle.polling import Polls
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

    def close(self) -> None:
        """Call what is queued, and stop."""


@dataclass(frozen=True, slots=True)
class Task:
    """A subtask to run: ``config`` is the plain JSON that Datahub gave."""

    subtask_id: str
    task_id: str | None
    plugin: str
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Supervisor:
    """What all tasks of this process share."""

    settings: Settings
    client: DatahubClient
    journal: Journal
    engine: Engine
    ticker: Ticking
    polls: Polls
    observer: Observer
    clock: Clock = REAL
