"""What was accepted and is not over, in memory: who starts subtasks takes them from here.

One plugin has its turn after the other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from typing import Literal

from plugin_framework.lifecycle.control import Controlled
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.service.turns import Entry, Turns

RUNNING, PAUSED, CANCELLED = TaskStatus.RUNNING, TaskStatus.PAUSED, TaskStatus.CANCELLED


class Entries:
    """For several threads. ``told`` is as ``backlog.Backlog`` has it.

    Attributes:
        draining: nothing more is accepted or started.
    """

    def __init__(
        self, plugins: Iterable[str], *, told: Callable[[Entry], None] | None = None
    ) -> None:
        self._told = told
        self._changed = threading.Condition()
        self._entries: dict[str, Entry] = {}
        self._turns = Turns(plugins)
        self.draining: bool = False

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self._entries)

    def find(self, subtask_id: str) -> Entry | None:
        """A subtask that is not over."""
        return self._entries.get(subtask_id)

    def all_in(self, state: Literal["handed", "running"]) -> list[Entry]:
        """Those that no node is seen to run, or that one is."""
        with self._changed:
            return [one for one in self._entries.values() if one.state == state]

    def counts(self) -> dict[str, int]:
        """How many subtasks wait, run and are paused; what is paused keeps its place."""
        counted = {"waiting": 0, "running": 0, "paused": 0}
        with self._changed:
            for entry in self._entries.values():
                was_taken = entry.state == "running" or (entry.elsewhere and entry.attempts)
                if was_taken and entry.wanted is PAUSED:
                    counted["paused"] += 1
                else:
                    counted["running" if entry.state == "running" else "waiting"] += 1
        return counted

    def longest_waiting(self) -> dict[str, float]:
        """Since when the first of each plugin's subtasks waits that do, in Unix seconds."""
        oldest: dict[str, float] = {}
        with self._changed:
            for entry in self._entries.values():
                if entry.state != "running" and entry.wanted is RUNNING:
                    oldest.setdefault(entry.plugin, entry.since)
        return oldest

    # For those who run

    def take(self) -> Entry | None:
        """The next subtask to run, once there is one; None when no more are to be started."""
        with self._changed:
            while not self.draining:
                if entry := self._turns.next(self._entries):
                    entry.state = "running"
                    return entry
                self._changed.wait(self._turns.due())
            return None

    def started(self, entry: Entry, run: Controlled) -> bool:
        """Give the run what was asked of the subtask; False if it is not to begin any more."""
        with self._changed:
            if self.draining:
                return False
            entry.run = run
            self._tell(entry)
            return True

    def drain(self) -> list[Controlled]:
        """Accept and start nothing more; what runs."""
        with self._changed:
            self.draining = True
            self._changed.notify_all()
            return [entry.run for entry in self._entries.values() if entry.run]

    # For those who have them run elsewhere

    def take_many(self, most: int, *, seconds: float, without: Collection[str] = ()) -> list[Entry]:
        """Up to so many subtasks to hand over, of any plugin but these; none after that time."""
        with self._changed:
            taken: list[Entry] = []
            until = time.monotonic() + seconds
            while not self.draining:
                while len(taken) < most and (entry := self._turns.next(self._entries, without)):
                    entry.state = "handed"
                    taken.append(entry)
                left = until - time.monotonic()
                if taken or left <= 0:
                    break
                self._changed.wait(left)
            return taken

    def give_back(self, entries: Iterable[Entry]) -> None:
        """Have them taken again, in their place."""
        with self._changed:
            for entry in entries:
                entry.state = "waiting"
                self._turns.add(entry)
            self._changed.notify_all()

    # For who keeps them

    def begin(self, entries: Iterable[Entry]) -> None:
        """They are accepted."""
        with self._changed:
            for entry in entries:
                self._entries[entry.subtask_id] = entry
                self._turns.add(entry)
            self._changed.notify_all()

    def forget(self, subtask_id: str) -> None:
        """It is over."""
        with self._changed:
            self._entries.pop(subtask_id, None)

    def want(self, entry: Entry, status: TaskStatus) -> None:
        """Ask this of it, and let it have its turn where it waits."""
        with self._changed:
            entry.wanted = status
            self._tell(entry)
            if entry.state == "waiting":
                self._turns.add(entry)
                self._changed.notify_all()

    def wait_again(self, entry: Entry, seconds: float) -> bool:
        """Have it wait once that time has passed; False if it was cancelled meanwhile."""
        with self._changed:
            entry.run = None
            if entry.wanted is CANCELLED:
                return False
            entry.state = "waiting"
            self._turns.add_later(entry, seconds)
            self._changed.notify_all()
            return True

    def withhold(self, entry: Entry) -> bool:
        """Have nobody start one that waits, for it is to end; False for one that runs."""
        with self._changed:
            if entry.state != "waiting":
                return False
            entry.state = "ending"
            return True

    def _tell(self, entry: Entry) -> None:
        if self._told is not None:
            self._told(entry)
        elif entry.run is None:
            pass
        elif entry.wanted is PAUSED:
            entry.run.pause()
        elif entry.wanted is CANCELLED:
            entry.run.cancel()
        else:
            entry.run.resume()
