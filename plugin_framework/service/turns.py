"""Whose turn it is: one plugin after the other, and the subtasks of each by their place."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from plugin_framework.lifecycle.control import Controlled
from plugin_framework.protocol.models import TaskStatus

RUNNING, PAUSED = TaskStatus.RUNNING, TaskStatus.PAUSED


@dataclass(slots=True, eq=False)
class Entry:
    """A subtask that is not over. ``wanted`` is what was last asked of it: 1, 2 or 4.

    ``since`` is when it was accepted, in Unix seconds, and ``attempts`` how often it has begun. One
    that was handed to an engine is ``handed`` until a node is seen to run it. ``elsewhere``: its
    attempts are made by nodes, and none of them keeps one that is paused before it has begun.

    ``first_given`` and ``last_given`` are when a message for it was put into the engine's queue,
    by ``time.monotonic()``; 0 where that is not known.
    """

    subtask_id: str
    plugin: str
    place: int
    since: float
    wanted: TaskStatus = RUNNING
    attempts: int = 0
    state: Literal["waiting", "handed", "running", "ending"] = "waiting"
    run: Controlled | None = None
    elsewhere: bool = False
    first_given: float = 0.0
    last_given: float = 0.0

    @property
    def may_start(self) -> bool:
        """Whether it waits for nothing but its turn."""
        return self.state == "waiting" and not self.is_held

    @property
    def is_held(self) -> bool:
        """Whether it is not to begin.

        A pause holds what has not begun; what has begun waits at its next checkpoint, alive. Of
        what runs elsewhere, only a node that has it can keep it alive.
        """
        if self.elsewhere and self.wanted is PAUSED:
            return True
        return self.wanted is not RUNNING and not self.attempts


class Turns:
    """What waits. Not for several threads; what is gone or may not start is passed over."""

    def __init__(self, plugins: Iterable[str]) -> None:
        self._waiting: dict[str, list[tuple[int, str]]] = {name: [] for name in plugins}
        self._turns = deque(self._waiting)
        self._later: list[tuple[float, int, str]] = []

    def serves(self, plugin: str) -> bool:
        """Whether the subtasks of a plugin have a turn."""
        return plugin in self._waiting

    def add(self, entry: Entry) -> None:
        """It waits from now on."""
        if self.serves(entry.plugin):
            heapq.heappush(self._waiting[entry.plugin], (entry.place, entry.subtask_id))

    def add_later(self, entry: Entry, seconds: float) -> None:
        """It waits once this time has passed."""
        heapq.heappush(self._later, (time.monotonic() + seconds, entry.place, entry.subtask_id))

    def due(self) -> float | None:
        """Seconds until the next of those that are to wait later."""
        return self._later[0][0] - time.monotonic() if self._later else None

    def next(self, entries: Mapping[str, Entry], without: Collection[str] = ()) -> Entry | None:
        """The next of the entries to start, of any plugin but these."""
        while self._later and self._later[0][0] <= time.monotonic():
            entry = entries.get(heapq.heappop(self._later)[2])
            if entry is not None:
                self.add(entry)
        for plugin in tuple(self._turns):
            self._turns.rotate(-1)
            heap = self._waiting[plugin]
            while heap and plugin not in without:
                entry = entries.get(heapq.heappop(heap)[1])
                if entry is not None and entry.may_start:
                    return entry
        return None
