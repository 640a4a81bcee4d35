"""One attempt at a subtask on this node: from a message to an ending that Datahub has acknowledged.

Whichever engine brought the message, and however often: who has the lease runs it, and what it
ended as is in the store before Datahub hears of it. Whoever comes later delivers that, and runs
nothing.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from plugin_framework.engines.cluster.fenced import Fence
from plugin_framework.engines.cluster.holding import Gate, Holdings, now
from plugin_framework.engines.cluster.identity import Familiar
from plugin_framework.engines.cluster.message import Message
from plugin_framework.engines.cluster.records import Ending, Lease
from plugin_framework.engines.cluster.sealed import Seal
from plugin_framework.engines.cluster.shared_journal import SharedJournal
from plugin_framework.engines.cluster.store import LeaseStore
from plugin_framework.engines.cluster.taking import (
    LOOK_SECONDS,
    AliveError,
    DrainingError,
    take,
)
from plugin_framework.engines.local import Attempt, LocalEngine
from plugin_framework.errors import (
    Code,
    ConfigurationError,
    DatahubError,
    JournalError,
    LeaseLostError,
    Problem,
    RejectedError,
    StoreUnreachableError,
    TaskLockedError,
)
from plugin_framework.journal.journal import Fate as ReportFate
from plugin_framework.lifecycle.control import LONGEST_DEADLINE
from plugin_framework.lifecycle.folders import forget_subtask, subtask_lock
from plugin_framework.lifecycle.outcome import TaskOutcome
from plugin_framework.lifecycle.reporter import Reporter
from plugin_framework.lifecycle.runner import Run
from plugin_framework.protocol.client import status_report
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.settings import Settings

SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 5.0
"""Seconds before a subtask that could not be begun is given back."""

MANY_LOSSES, MOST_LOSSES = 3, 5
"""Attempts that were lost in a row: when that is said, and when no other is made.

Nodes die of much, and two in a row may be chance. Each is a node less for all others, though.
"""

log: logging.Logger = logging.getLogger("datahub.attempt")


class Fate(Enum):
    """What becomes of a message, by what became of the attempt."""

    DONE = "done"  # the subtask has ended, and Datahub knows
    DUPLICATE = "duplicate"  # another attempt is alive; should it die, the service sends another
    BACK = "back"  # it is to be given to somebody, perhaps to us, again
    PAUSED = "paused"  # Datahub holds it, and nothing was begun; the service sends another
    UNUSABLE = "unusable"  # it is not for this node, and never will be


@dataclass(frozen=True, slots=True)
class Done:
    """A message was handled; it is given back only after a ``pause``, in seconds."""

    fate: Fate
    pause: float = 0.0


class Node(Protocol):
    """The process that an attempt is made in; see ``node.Node``."""

    name: str
    settings: Settings
    store: LeaseStore
    holdings: Holdings
    engines: Mapping[str, LocalEngine]
    draining: threading.Event
    familiar: Familiar

    def running(self, run: Run, lease: Lease) -> AbstractContextManager[None]:
        """Around a run: control and drain reach it."""

    def ended(self, status: TaskStatus) -> None:
        """Count a subtask that was brought to its end here."""


def run_attempt(node: Node, message: Message, *, redelivered: bool) -> Done:
    """Bring a subtask on as far as can be; blocks as long as that takes.

    ``redelivered``: the engine brought the same message to somebody before, who was lost.
    """
    engine = node.engines.get(message.plugin)
    if engine is None:
        what = f"subtask {message.subtask_id} is of {message.plugin!r:.60}, which this node has not"
        log.error("%s", Problem(what, Code.NO_WORKER))
        return Done(Fate.UNUSABLE)
    attempt = _Attempt(node, engine, message)
    try:
        return attempt.make(redelivered=redelivered)
    except StoreUnreachableError as error:
        return attempt.back(error)
    except LeaseLostError as error:
        log.info("%s", error)
        return Done(Fate.DUPLICATE)


class _Attempt:
    def __init__(self, node: Node, engine: LocalEngine, message: Message) -> None:
        self._node = node
        self._engine = engine
        self._message = message
        self._store = node.store
        self._settings = node.settings
        self._subtask_id = message.subtask_id

    def make(self, *, redelivered: bool) -> Done:
        """See ``run_attempt``.

        Raises:
            LeaseLostError: another node has taken the subtask over.
            StoreUnreachableError: nothing was begun.
        """
        if not self._node.familiar.is_ours(self._message):
            return Done(Fate.BACK, _pause())
        ending = self._store.ending(self._subtask_id)
        if ending is not None and ending.fate != "pending":
            return Done(Fate.DONE)
        try:
            lease, asked_at = take(self._node, self._message, redelivered=redelivered)
        except AliveError as error:
            log.info("subtask %s: %s", self._subtask_id, error)
            return Done(Fate.DUPLICATE)
        except DrainingError:
            return Done(Fate.BACK)
        gate = self._node.holdings.hold(lease, asked_at)
        try:
            return self._holding(lease, gate)
        finally:
            self._node.holdings.drop(lease)
            with suppress(StoreUnreachableError):  # it is taken over, after a while
                self._store.release(lease)

    def back(self, error: Exception) -> Done:
        """Give it back, after a while: what hinders it here hinders others, too."""
        if not self._node.draining.is_set():
            log.warning("subtask %s is not begun: %s", self._subtask_id, error)
        return Done(Fate.BACK, _pause())

    # With the lease

    def _holding(self, lease: Lease, gate: Gate) -> Done:
        # Again: now nobody else can write one.
        ending = self._store.ending(self._subtask_id)
        if ending is not None and ending.fate != "pending":
            return Done(Fate.DONE)
        journal = SharedJournal(
            self._store,
            gate,
            kept=self._store.load(lease),
            seal=Seal(self._settings.api_secret, self._settings.api_secret_previous),
            patience=self._settings.delivery_deadline,
        )
        if ending is not None:
            log.info("subtask %s has ended already, which Datahub is told", self._subtask_id)
            journal.adopt(ending)
            return self._deliver(gate, journal)
        return self._begin(lease, gate, journal)

    def _begin(self, lease: Lease, gate: Gate, journal: SharedJournal) -> Done:
        """Run it, unless Datahub wants something else."""
        try:
            status = self._status()
        except DatahubError as error:
            return self.back(error)
        if status is TaskStatus.PAUSED:
            log.info("subtask %s is not begun: it is paused", self._subtask_id)
            return Done(Fate.PAUSED)
        if status is TaskStatus.CANCELLED:  # it is only asked for: Datahub waits for the report
            return self._ended(lease, gate, journal, status, None)
        if status is not None and status.is_final:
            return self._ended_elsewhere(lease, status)
        if (problem := self._lost_too_often(lease)) is not None:
            return self._failed(lease, gate, journal, problem)
        return self._run(lease, gate, journal)

    def _lost_too_often(self, lease: Lease) -> Problem | None:
        if lease.losses < MANY_LOSSES:
            return None
        what = f"the last {lease.losses} attempts were lost with the workers that made them"
        problem = Problem(what, Code.ATTEMPTS_LOST)
        if lease.losses < MOST_LOSSES:
            log.warning("subtask %s: %s", self._subtask_id, problem)
            return None
        return problem

    def _status(self) -> TaskStatus | None:
        """What Datahub has; None if it does not know the subtask, which its start is to show."""
        asked = self._message.task_id or self._subtask_id
        try:
            return self._engine.client.notify(asked, patience=0, deadline=LONGEST_DEADLINE)
        except RejectedError:
            return None

    def _execute(
        self, lease: Lease, gate: Gate, journal: SharedJournal, *, place: str = ""
    ) -> TaskOutcome:
        run = self._engine.run(
            self._subtask_id,
            task_id=self._message.task_id,
            config=self._message.config,
            attempt=Attempt(
                guard=Fence(gate, journal),
                journal=journal,
                make_work_dir=journal.saved.make_work_dir,
                highest=lambda _file: journal.saved,
                node=lease.node,
                taken_over=lease.losses > 0,
                place=place,
            ),
        )
        gate.when_lost(run.fence)
        try:
            with self._node.running(run, lease):
                return run.execute()
        except TaskLockedError:
            if place or lease.number == 1:
                raise  # somebody runs it by hand
        # An attempt on this machine that stands still: its files are of no use, but its own.
        place = f"{self._subtask_id} {lease.number}"
        try:
            return self._execute(lease, gate, journal, place=place)
        finally:
            self._forget_files(place)

    def _run(self, lease: Lease, gate: Gate, journal: SharedJournal) -> Done:
        try:
            outcome = self._execute(lease, gate, journal)
        except LeaseLostError:
            raise
        except RejectedError as error:
            return self._refused(lease, error)
        except ConfigurationError as error:
            return self._failed(lease, gate, journal, "; ".join(error.problems))
        except (DatahubError, OSError) as error:
            return self._not_begun(lease, error)
        except Exception as error:
            log.exception("subtask %s: an internal error", self._subtask_id)
            told = Problem(f"an internal error: {type(error).__name__}", Code.UNEXPECTED)
            return self._failed(lease, gate, journal, told)
        return self._after(lease, journal, outcome)

    def _not_begun(self, lease: Lease, error: Exception) -> Done:
        with suppress(DatahubError):  # then what was lost before it is forgotten, and no more
            self._store.set_begun(lease, begun=False)
        return self.back(error)

    def _after(self, lease: Lease, journal: SharedJournal, outcome: TaskOutcome) -> Done:
        if not outcome.status.is_final:  # it is to go on at another start
            return Done(Fate.BACK)
        undelivered = JournalError(outcome.error or "how it ended is not delivered")
        if journal.ending(self._subtask_id) is None:
            found = outcome.status if outcome.delivered else None
            return self._ended_elsewhere(lease, found) if found else self.back(undelivered)
        self._forget_files(self._subtask_id)
        self._node.ended(outcome.status)
        return Done(Fate.DONE) if journal.settled.is_set() else self.back(undelivered)

    # Endings without a run

    def _failed(self, lease: Lease, gate: Gate, journal: SharedJournal, error: str) -> Done:
        log.error("subtask %s failed: %s", self._subtask_id, error)
        return self._ended(lease, gate, journal, TaskStatus.FAILED, error)

    def _ended(
        self,
        lease: Lease,
        gate: Gate,
        journal: SharedJournal,
        status: TaskStatus,
        error: str | None,
    ) -> Done:
        path, body = status_report(self._subtask_id, status)
        ending = self._ending(lease, status, error, "pending", path, body)
        journal.adopt(self._store.end(lease, ending))
        self._node.ended(status)
        return self._deliver(gate, journal)

    def _ended_elsewhere(self, lease: Lease, status: TaskStatus) -> Done:
        log.info("subtask %s is %s already at Datahub", self._subtask_id, status.name.lower())
        error = f"Datahub had ended the subtask as {status.name.lower()}"
        self._store.end(lease, self._ending(lease, status, error, "delivered"))
        self._forget_files(self._subtask_id)
        return Done(Fate.DONE)

    def _refused(self, lease: Lease, error: RejectedError) -> Done:
        log.warning("subtask %s: Datahub refused its start: %s", self._subtask_id, error)
        refused = f"Datahub refused its start: {error}"
        self._store.end(lease, self._ending(lease, TaskStatus.FAILED, refused, "refused"))
        return Done(Fate.DONE)

    def _ending(
        self,
        lease: Lease,
        status: TaskStatus,
        error: str | None,
        fate: ReportFate,
        path: str = "",
        body: bytes = b"",
    ) -> Ending:
        outcome: dict[str, Any] = {
            "result": None,
            "outputs": [],
            "error": error,
            "attempt": lease.number,
            "node": lease.node,
        }
        return Ending(int(status), path, body, outcome, fate)

    def _deliver(self, gate: Gate, journal: SharedJournal) -> Done:
        """Deliver the ending that the journal has."""
        self._forget_files(self._subtask_id)
        client = self._engine.client.guarded(Fence(gate, journal))
        task_id = self._message.task_id
        reporter = Reporter(client, journal, self._subtask_id, task_id=task_id)
        with closing(reporter):
            reporter.start()
            until = now() + self._settings.delivery_deadline
            self._wait(lambda: reporter.idle or gate.lost.is_set() or now() > until)
            delivery = reporter.wait(0)
        if gate.lost.is_set():
            return Done(Fate.DUPLICATE)
        if journal.settled.is_set():
            return Done(Fate.DONE)
        return self.back(JournalError(delivery.error or "what came of its report is not kept"))

    def _wait(self, over: Callable[[], bool]) -> None:
        while not over() and not self._node.draining.wait(LOOK_SECONDS):
            pass

    def _forget_files(self, place: str) -> None:
        """Remove what is of no use to any attempt, the lock too: a node sees many subtasks."""
        folder = self._settings.state_dir
        unless_in_use = suppress(TaskLockedError, JournalError, OSError)
        with unless_in_use, subtask_lock(folder, place, to_run=False):
            forget_subtask(folder, place)


def _pause() -> float:
    return random.uniform(SHORTEST_PAUSE, LONGEST_PAUSE)  # noqa: S311 - no secret
