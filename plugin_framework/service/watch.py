"""Sees what becomes of subtasks that were handed over, by what the nodes write into the store."""

from __future__ import annotations

import logging
import time
from collections import Counter
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
from plugin_framework.service.missing import Repeats, Shortages
from plugin_framework.service.turns import Entry

WRITE_SECONDS = 1.0
"""How long one look waits for the journal to have the endings."""

log: logging.Logger = logging.getLogger("datahub.service")


@dataclass(frozen=True, slots=True)
class _Seen:
    sight: Sight
    at: float


class Watch:
    """The subtasks of one service, looked at from one thread.

    ``depths`` tells how many of a plugin's subtasks are with the engine, where that is known: each
    time that this was asked of the engine in a mapping of its own.
    ``tell`` has the run of a subtask do what is wanted of it. ``on_over`` is told the status of
    each that has ended, and whether Datahub knows.

    Attributes:
        repeated: subtasks to be published though the engine was given them before, for no node
            seems to have them.
        put_by: those that a node gave back and that are paused. There may be no message of them,
            so they are published once they go on.
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
        self._lease_seconds = lease_seconds
        self._depths = depths
        self._tell = tell
        self._on_over = on_over
        self._seen: dict[str, _Seen] = {}
        self._leaving: dict[str, Future[None]] = {}
        self._missing = Repeats(2 * lease_seconds)
        self._shortages = Shortages()
        self._compared: Mapping[str, int | None] = {}
        self._reached: dict[str, float] = {}
        self.repeated: set[str] = set()
        self.put_by: set[str] = set()

    def look(self, store: LeaseStore) -> None:
        """Look once.

        Raises:
            StoreUnreachableError: there is nothing to be seen.
        """
        try:
            self._look_for_new_lives(store)
            self._take_endings(store)
            asked_at = time.monotonic()
            held = store.held(self._service)
        except StoreUnreachableError:
            # Nobody could give a sign of life, or take anything.
            self._seen.clear()
            self._missing.forget_all_but(())
            self._shortages.clear()
            raise
        notes = [*self._look_at_leases(held)]
        self._look_for_missing(time.monotonic(), asked_at)
        with suppress(JournalError):  # they are for people, and who writes says so
            self._kept.note(notes)

    def is_leaving(self, subtask_id: str) -> bool:
        """Whether the store still has an ending that is gone from here: of a life before."""
        return subtask_id in self._leaving

    def is_given(self, entry: Entry, now: float) -> None:
        """The engine has a message for it."""
        self._is_alive(entry.subtask_id)
        entry.first_given = entry.first_given or now
        entry.last_given = now

    # What has ended

    def _look_for_new_lives(self, store: LeaseStore) -> None:
        """Forget calls that only repeat others: Datahub creates anew only what has ended."""
        for submission in self._backlog.sent_again.all():
            if store.ending(submission.subtask_id) is None:
                self._backlog.is_repeat(submission)

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
        self._is_alive(subtask_id)
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

    def _look_at_leases(self, held: Mapping[str, Sight]) -> Iterator[Note]:
        for subtask_id in self._seen.keys() - held.keys():
            del self._seen[subtask_id]
        yield from self._look_for_forgotten(held)
        for subtask_id, sight in held.items():
            entry = self._backlog.find(subtask_id)
            if entry is not None and subtask_id not in self._leaving:
                yield from self._look_at(entry, sight)

    def _look_for_forgotten(self, held: Mapping[str, Sight]) -> Iterator[Note]:
        """What runs has a lease: where it has none, the node gave it back or the store lost it."""
        for entry in self._backlog.all_in("running"):
            sight = held.get(entry.subtask_id)
            if (sight is None or not sight.held) and entry.subtask_id not in self._leaving:
                entry.state = "handed"
                if sight is not None:
                    yield Note(entry.subtask_id, "given back", sight.number)

    def _look_at(self, entry: Entry, sight: Sight) -> Iterator[Note]:
        seen = self._seen.get(entry.subtask_id)
        is_new = seen is None or seen.sight != sight
        if is_new:
            self._seen[entry.subtask_id] = _Seen(sight, time.monotonic())
            self._missing.forget(entry.subtask_id)
        if not sight.held:
            self._look_at_free(entry, sight, is_new=is_new)
        elif is_new:
            yield from self._look_at_taken(entry, sight, is_first=seen is None)

    def _look_at_free(self, entry: Entry, sight: Sight, *, is_new: bool) -> None:
        if is_new:
            entry.last_given = time.monotonic()  # a node may have put it back into the queue
        if entry.wanted is TaskStatus.PAUSED and entry.subtask_id not in self.put_by:
            entry.attempts = max(entry.attempts, sight.number)
            self.put_by.add(entry.subtask_id)
            self._backlog.give_back([entry])

    def _look_at_taken(self, entry: Entry, sight: Sight, *, is_first: bool) -> Iterator[Note]:
        self._is_alive(entry.subtask_id)
        entry.state = "running"
        begun, entry.attempts = sight.number > entry.attempts, sight.number
        if begun:
            reached = self._reached.get(entry.plugin, 0.0)
            self._reached[entry.plugin] = max(reached, entry.first_given)
            yield Note(entry.subtask_id, "taken", sight.number, sight.node)
        if (begun or is_first) and entry.wanted is not TaskStatus.RUNNING:
            self._tell(entry)

    def _is_alive(self, subtask_id: str) -> None:
        self.repeated.discard(subtask_id)
        self.put_by.discard(subtask_id)

    # What is lost

    def _look_for_missing(self, now: float, asked_at: float) -> None:
        """Of what was handed over and no living node has, the engine should have a message."""
        depths = self._depths()
        if depths is self._compared:  # they say nothing of what nodes have now
            return
        self._compared = depths
        silent = self._silent(asked_at)
        sought = [*self._backlog.all_in("handed"), *silent]
        self._shortages.see(depths, Counter(entry.plugin for entry in sought))
        missed = dict[str, Entry]()
        for entry in sought:
            depth = depths.get(entry.plugin)
            if depth is None or entry.wanted is TaskStatus.PAUSED:
                continue
            # A worker may have put a message back, behind all others: then none is too few. And
            # what a dead node had waits there for a free one, for that is where it goes back to.
            lacks = entry.plugin in self._shortages
            if depth == 0 or (lacks and (entry in silent or self._is_overtaken(entry))):
                missed[entry.subtask_id] = entry
        self._missing.forget_all_but(missed.keys())
        for subtask_id, entry in missed.items():
            if self._missing.due(subtask_id, now, now):
                self._publish_again(entry)

    def _silent(self, asked_at: float) -> list[Entry]:
        """What a node has of which there was no sign of life for so long that others may go on."""
        before = asked_at - self._lease_seconds
        found = [(one, self._seen.get(one.subtask_id)) for one in self._backlog.all_in("running")]
        return [entry for entry, seen in found if seen is not None and seen.at < before]

    def _is_overtaken(self, entry: Entry) -> bool:
        """Whether something was taken that came into the queue after the last message for it.

        That one's first message counts, for whichever of its messages was the one that was taken.
        """
        return entry.last_given < self._reached.get(entry.plugin, 0.0)

    def _publish_again(self, entry: Entry) -> None:
        self.repeated.add(entry.subtask_id)
        self._backlog.give_back([entry])


def _is_told(ending: Ending) -> bool:
    """Whether Datahub knows; what no node had was ended by the service, which is to say so."""
    return bool(ending.outcome.get("attempt"))
