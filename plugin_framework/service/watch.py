"""Sees what becomes of subtasks that were handed over, by what the nodes write into the store."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass

from plugin_framework.engines.cluster.records import Ending, Sight
from plugin_framework.engines.cluster.store import LeaseStore
from plugin_framework.errors import JournalError, StoreUnreachableError
from plugin_framework.journal.queue import Ended, Note, Queue
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.service.backlog import Backlog
from plugin_framework.service.turns import Entry

LONGEST_PAUSE = 300.0
"""Seconds between two times that a subtask is published again."""

WRITE_SECONDS = 1.0
"""How long one look waits for the journal to have the endings."""

log: logging.Logger = logging.getLogger("datahub.service")


class Repeats:
    """When what seems to be lost is to be published again: at times that lie ever further apart."""

    def __init__(self, first: float) -> None:
        self._first = first
        self._due: dict[str, tuple[float, float]] = {}

    def due(self, subtask_id: str, now: float, since: float) -> bool:
        """Whether it is now; ``since`` is when it was first without a sign of life."""
        at, pause = self._due.setdefault(subtask_id, (since + self._first, self._first * 2))
        if now < at:
            return False
        self._due[subtask_id] = now + pause, min(pause * 2, LONGEST_PAUSE)
        return True

    def forget(self, subtask_id: str) -> None:
        """There was a sign of life."""
        self._due.pop(subtask_id, None)

    def clear(self) -> None:
        """All are alive."""
        self._due.clear()


@dataclass(frozen=True, slots=True)
class _Seen:
    sight: Sight
    at: float


class Watch:
    """The subtasks of one service, looked at from one thread.

    ``depths`` tells how many of a plugin's subtasks are with the engine, where that is known.
    ``tell`` has the run of a subtask do what is wanted of it. ``on_over`` is told the status of
    each that has ended, and whether Datahub knows.

    Attributes:
        repeated: subtasks to be published though the engine was given them before.
    """

    def __init__(
        self,
        backlog: Backlog,
        kept: Queue,
        *,
        service: str,
        lease_seconds: float,
        depths: Callable[[], Mapping[str, int | None]],
        tell: Callable[[Entry], None],
        on_over: Callable[[TaskStatus, bool], None],
    ) -> None:
        self._backlog = backlog
        self._kept = kept
        self._service = service
        self._patience = 2 * lease_seconds
        self._depths = depths
        self._tell = tell
        self._on_over = on_over
        self._seen: dict[str, _Seen] = {}
        self._leaving: dict[str, Future[None]] = {}
        self._silent = Repeats(self._patience)
        self._missing: dict[str, Repeats] = {}
        self.repeated: set[str] = set()

    def look(self, store: LeaseStore) -> None:
        """Look once.

        Raises:
            StoreUnreachableError: there is nothing to be seen.
        """
        try:
            self._take_endings(store)
            held = store.held(self._service)
        except StoreUnreachableError:
            self._seen.clear()  # nobody could give a sign of life
            raise
        now = time.monotonic()
        notes = [*self._look_at_leases(held, now)]
        for plugin, depth in self._depths().items():
            self._look_for_missing(plugin, depth, now)
        with suppress(JournalError):  # they are for people, and who writes says so
            self._kept.note(notes)

    def is_leaving(self, subtask_id: str) -> bool:
        """Whether the store still has an ending that is gone from here: of a life before."""
        return subtask_id in self._leaving

    # What has ended

    def _take_endings(self, store: LeaseStore) -> None:
        while found := [one for one in store.ended(self._service) if one[0] not in self._leaving]:
            unknown = [one for one, ending in found if not self._end(one, ending)]
            if unknown:
                store.noticed(unknown)
            self._settle(store)
        self._settle(store)

    def _end(self, subtask_id: str, ending: Ending) -> bool:
        entry = self._backlog.find(subtask_id)
        if entry is None:
            return False
        self.repeated.discard(subtask_id)
        self._leaving[subtask_id] = self._remove(entry, ending)
        status = TaskStatus(ending.status)
        node, attempt = ending.outcome.get("node"), ending.outcome.get("attempt")
        where = f"on {node}, attempt {attempt}" if node else "before a node had it"
        facts = {"facts": {"node": node}} if node else None
        log.info("subtask %s: %s %s", subtask_id, status.name.lower(), where, extra=facts)
        self._on_over(status, _is_told(ending))
        return True

    def _remove(self, entry: Entry, ending: Ending) -> Future[None]:
        if ending.path:
            fate = ending.fate if _is_told(ending) else "pending"
            ended = Ended(
                entry.subtask_id, ending.status, ending.path, ending.body, ending.outcome, fate
            )
            return self._backlog.remove(entry, ended=ended)
        # There was nothing to report: Datahub has ended it by itself, or refused its start.
        why = ending.outcome.get("error") if ending.fate == "refused" else None
        return self._backlog.remove(entry, refused=why)

    def _settle(self, store: LeaseStore) -> None:
        """Have the store forget what the journal has."""
        if self._leaving:
            wait(self._leaving.values(), WRITE_SECONDS)
            if done := [one for one, written in self._leaving.items() if written.done()]:
                store.noticed(done)
            for one in done:
                del self._leaving[one]

    # What goes on

    def _look_at_leases(self, held: Mapping[str, Sight], now: float) -> Iterator[Note]:
        for subtask_id in self._seen.keys() - held.keys():
            del self._seen[subtask_id]
            self._silent.forget(subtask_id)
        for subtask_id, sight in held.items():
            entry = self._backlog.find(subtask_id)
            if entry is not None and subtask_id not in self._leaving:
                yield from self._look_at(entry, sight, now)

    def _look_at(self, entry: Entry, sight: Sight, now: float) -> Iterator[Note]:
        seen = self._seen.get(entry.subtask_id)
        if seen is not None and seen.sight == sight:
            if sight.held and self._silent.due(entry.subtask_id, now, seen.at):
                self._publish_again(entry)
            return
        self._seen[entry.subtask_id] = _Seen(sight, now)
        self._silent.forget(entry.subtask_id)
        if not sight.held:
            if seen is not None and seen.sight.held:
                entry.state = "handed"
                yield Note(entry.subtask_id, "given back", sight.number)
            return
        entry.state = "running"
        begun, entry.attempts = sight.number > entry.attempts, sight.number
        if begun:
            yield Note(entry.subtask_id, "taken", sight.number, sight.node)
        if (begun or seen is None) and entry.wanted is not TaskStatus.RUNNING:
            self._tell(entry)

    def _look_for_missing(self, plugin: str, depth: int | None, now: float) -> None:
        """Where the engine has nothing that waits, what it was given should be running."""
        if depth != 0:
            self._missing.pop(plugin, None)
            return
        repeats = self._missing.setdefault(plugin, Repeats(self._patience))
        for entry in self._backlog.handed(plugin):
            if repeats.due(entry.subtask_id, now, now):
                self._publish_again(entry)

    def _publish_again(self, entry: Entry) -> None:
        self.repeated.add(entry.subtask_id)
        self._backlog.give_back([entry])


def _is_told(ending: Ending) -> bool:
    """Whether Datahub knows; what no node had was ended by the service, which is to say so."""
    return bool(ending.outcome.get("attempt"))
