"""Hands what waits in the backlog over to an engine of many machines, and sees it end there.

Nothing here ends for a broker or a store that is away: what was accepted is kept, and tried again.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from plugin_framework.engines.cluster.identity import Identity
from plugin_framework.engines.cluster.records import Ending
from plugin_framework.engines.cluster.resources import Needs
from plugin_framework.engines.cluster.store import LeaseStore, demand_client, open_store
from plugin_framework.engines.local import LocalEngine
from plugin_framework.engines.remote import Handed, RemoteEngine
from plugin_framework.errors import (
    ClusterConfigurationError,
    DatahubError,
    JournalError,
    Problem,
    RetryableError,
)
from plugin_framework.journal.queue import Note, Queue
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.service.backlog import Backlog, never_ran
from plugin_framework.service.late import Late, line_of
from plugin_framework.service.lookout import Lookout
from plugin_framework.service.running import Outlook
from plugin_framework.service.turns import Entry
from plugin_framework.service.watch import Watch
from plugin_framework.settings import Settings

BATCH = 200
"""Subtasks that are handed over together."""

BATCH_SIZE = 4 * 2**20
"""Characters of their configs."""

LOOK_SECONDS = 1.0
"""Between two looks into the store, and at the cluster."""

LEAVING_SECONDS = 0.1
"""Between two times that what was created anew is looked at, while an earlier life is ending."""

MOST_NAMED = 5
"""Subtasks that one line names."""

REFUSED_SECONDS = 2.0
"""How long a plugin's subtasks wait where one was not taken."""

PRUNE_SECONDS, KEPT_SECONDS = 600.0, 86_400.0
"""Between two times that the store is tidied, and how long what has ended stays there."""

log: logging.Logger = logging.getLogger("datahub.service")


class RemoteDispatcher:
    """Has a thread each for what may wait: the engine, the store, control and the outlook.

    ``commands`` are the subtasks of which something was asked, and ``service`` is this service's
    name in the store. ``on_over`` is told the final status of a subtask, and whether Datahub has
    acknowledged it.
    """

    def __init__(
        self,
        backlog: Backlog,
        kept: Queue,
        needs: Mapping[str, Needs],
        store: Late[LeaseStore],
        engine: Late[RemoteEngine],
        *,
        commands: queue.SimpleQueue[Entry],
        service: str,
        lease_seconds: float,
        on_over: Callable[[TaskStatus, bool], None],
    ) -> None:
        self._backlog = backlog
        self._kept = kept
        self._store = store
        self._engine = engine
        self._commands = commands
        self._service = service
        self._cancelled: dict[str, Entry] = {}
        self._refusals: dict[str, Problem] = {}
        self._refused_until: dict[str, float] = {}
        self._identity = Identity()
        self._counted = Outlook()
        self._prune_at = 0.0
        self._closing = threading.Event()
        self._look_now = threading.Event()
        self._lookout = Lookout(
            backlog,
            kept,
            needs,
            store,
            engine,
            lease_seconds=lease_seconds,
            refusals=self._refusals,
        )
        self._watch = Watch(
            backlog,
            kept,
            service=service,
            lease_seconds=lease_seconds,
            depths=self._lookout.depths,
            tell=commands.put,
            on_over=on_over,
        )
        steps = {
            "handing over": self._hand_over,
            "watch": self._look,
            "control": self._control,
            "lookout": self._look_out,
        }
        self._threads = [
            threading.Thread(target=self._repeat, args=(step,), daemon=True, name=name)
            for name, step in steps.items()
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def runs(self, subtask_id: str) -> bool:
        """Whether a subtask's reports are its node's to send."""
        return self._backlog.find(subtask_id) is not None

    def shut_down(self, _number: int) -> None:
        """Hand nothing more over; what is with the nodes goes on there."""
        self._backlog.drain()
        self._closing.set()
        self._look_now.set()

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is being handed over; False if that took longer."""
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))
        left = any(thread.is_alive() for thread in self._threads)
        if not left:
            self._engine.close()
            self._store.close()
        return not left

    def outlook(self) -> Outlook:
        """The cluster as it was a moment ago."""
        seen, counted = self._lookout.outlook, self._counted
        return replace(
            seen, handed_over=counted.handed_over, published_again=counted.published_again
        )

    def _repeat(self, step: Callable[[], None]) -> None:
        while not self._closing.is_set():
            try:
                step()
            except DatahubError as error:  # the outlook tells of it
                log.debug("the cluster: %s", error)
                self._closing.wait(LOOK_SECONDS)
            except Exception:
                log.exception("an internal error, of the cluster")
                self._closing.wait(LOOK_SECONDS)

    # What is handed over

    def _hand_over(self) -> None:
        now = time.monotonic()
        refused = [plugin for plugin, until in self._refused_until.items() if until > now]
        batch = self._backlog.take_many(BATCH, seconds=LOOK_SECONDS, without=refused)
        if not batch:
            return
        left = {entry.subtask_id: entry for entry in batch}
        try:
            self._give(left)
        finally:
            if left:
                self._backlog.give_back(left.values())

    def _give(self, left: dict[str, Entry]) -> None:
        """Hand over what is ``left``; what is safe is taken out."""
        store, engine = self._store.get(), self._engine.get()
        # Of what was created anew, the life before is over once the store knows that it is.
        ready = [
            one
            for one, entry in left.items()
            if not entry.is_held and not self._watch.is_leaving(one)
        ]
        if not ready:
            self._closing.wait(LEAVING_SECONDS)
        again = self._watch.repeated.intersection(ready)
        put_by = self._watch.put_by.intersection(ready)
        for subtask_id in store.open(self._service, ready) - again - put_by:
            del left[subtask_id]
        identity = self._identity.of(store)
        batch = [
            Handed(
                one.subtask_id,
                one.task_id,
                one.plugin,
                one.config,
                left[one.subtask_id].attempts + 1,
                identity,
            )
            for one in self._kept.find_all([one for one in ready if one in left], size=BATCH_SIZE)
        ]
        if not batch:
            return
        told = engine.hand_over(batch)
        given = [one for one in batch if told[one.subtask_id] is None]
        store.handed([one.subtask_id for one in given])
        for one in batch:
            error = told[one.subtask_id]
            if error is not None:
                self._refuse(left, one, error)
            else:
                self._refusals.pop(one.plugin, None)
        self._note(left, given, again.intersection(one.subtask_id for one in given))

    def _note(self, left: dict[str, Entry], given: Sequence[Handed], again: set[str]) -> None:
        """Count and tell what was ``given``, and which of that ``again``."""
        now = time.monotonic()
        self._counted = replace(
            self._counted,
            handed_over=self._counted.handed_over + len(given) - len(again),
            published_again=self._counted.published_again + len(again),
        )
        for one in given:
            self._watch.is_given(left.pop(one.subtask_id), now)
        if again:
            some = ", ".join(sorted(again)[:MOST_NAMED]) + (", ..." * (len(again) > MOST_NAMED))
            log.warning("handed over once more, for no node seems to have it: %s", some)
        with suppress(JournalError):  # it is for people, and who writes says so
            self._kept.note(
                Note(
                    one.subtask_id,
                    "published again" if one.subtask_id in again else "handed over",
                )
                for one in given
            )

    def _refuse(self, left: dict[str, Entry], one: Handed, error: DatahubError) -> None:
        if isinstance(error, RetryableError | ClusterConfigurationError):
            self._refused_until[one.plugin] = time.monotonic() + REFUSED_SECONDS
            if isinstance(error, ClusterConfigurationError):  # the engine itself tells of others
                self._refusals[one.plugin] = line_of(error)
            return
        log.error("subtask %s failed: %s", one.subtask_id, error)
        self._backlog.remove(left.pop(one.subtask_id), failed=str(error))

    # What becomes of it

    def _look(self) -> None:
        store = self._store.get()
        self._identity.of(store)  # a store that forgot it gets it back
        self._watch.look(store)
        if time.monotonic() >= self._prune_at:
            self._prune_at = time.monotonic() + PRUNE_SECONDS
            store.prune(time.time() - KEPT_SECONDS)
        self._look_now.wait(LOOK_SECONDS)
        if not self._closing.is_set():
            self._look_now.clear()

    def _look_out(self) -> None:
        self._lookout.look()
        self._look_now.set()  # what nodes have is compared with what waits: seen at one time
        self._closing.wait(LOOK_SECONDS)

    # What is asked of it

    def _control(self) -> None:
        try:
            entry = self._commands.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            self._cancel_again()
            return
        if self._backlog.find(entry.subtask_id) is not entry:
            return
        if entry.wanted is TaskStatus.CANCELLED:
            if self._drop(entry):
                return
            self._cancelled[entry.subtask_id] = entry
        with suppress(DatahubError):  # its run asks Datahub what it is to do
            self._engine.get().control(entry.subtask_id, entry.wanted)

    def _cancel_again(self) -> None:
        """What nobody could tell of, or what a node had and gave back."""
        for subtask_id, entry in list(self._cancelled.items()):
            gone = self._backlog.find(subtask_id) is not entry
            if gone or (entry.state != "running" and self._drop(entry)):
                del self._cancelled[subtask_id]

    def _drop(self, entry: Entry) -> bool:
        """End a subtask that no node has; False where one does, or where nobody can tell."""
        ended = never_ran(entry.subtask_id, TaskStatus.CANCELLED, None)
        # To the nodes it is over: that Datahub hears of it is this service's affair.
        ending = Ending(ended.status, ended.path, ended.body, ended.outcome, "delivered")
        try:
            store = self._store.get()
            store.open(self._service, [entry.subtask_id])
            dropped = store.end_unheld(entry.subtask_id, ending) is not None
        except DatahubError as error:
            log.debug("subtask %s is not cancelled yet: %s", entry.subtask_id, error)
            return False
        if dropped:
            self._look_now.set()
        return dropped


def remote_dispatcher(
    backlog: Backlog,
    engines: Mapping[str, LocalEngine],
    settings: Settings,
    *,
    commands: queue.SimpleQueue[Entry],
    service: str,
    on_over: Callable[[TaskStatus, bool], None],
) -> RemoteDispatcher:
    """The dispatcher for the engine that the settings name, whose plugins are imported here too.

    Raises:
        ConfigurationError: a plugin's ``resources`` are none, or a library is missing, which does
            not come while the service runs.
    """
    from plugin_framework.engines.celery.engine import CeleryEngine  # noqa: PLC0415 - an extra

    demand_client(settings)
    journal = next(iter(engines.values())).journal
    needs = {name: Needs.of(engine.resources, name) for name, engine in engines.items()}

    return RemoteDispatcher(
        backlog,
        journal.queue,
        needs,
        Late(lambda: open_store(settings, journal)),
        Late(lambda: CeleryEngine(settings, needs)),
        commands=commands,
        service=service,
        lease_seconds=settings.lease_seconds,
        on_over=on_over,
    )
