"""The subtasks that were accepted and are not over: in memory, and in the journal before that.

One thread writes. What arrives while it waits for the disk is written together, so that many calls
share one wait. What a change means is in ``plan``, and whoever starts subtasks uses ``entries``.
"""

from __future__ import annotations

import itertools
import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from plugin_framework.errors import JournalError
from plugin_framework.journal.queue import Changes, Ended, Queue
from plugin_framework.protocol.client import status_report
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.protocol.signing import MEMORY_SECONDS
from plugin_framework.service.answers import BUSINESS_ERROR, Refused
from plugin_framework.service.changes import (
    Add,
    Addition,
    Change,
    Follow,
    Manage,
    Remember,
    Remove,
    Submission,
)
from plugin_framework.service.entries import CANCELLED, Entries
from plugin_framework.service.plan import Plan
from plugin_framework.service.sent_again import SentAgain
from plugin_framework.service.turns import Entry

log: logging.Logger = logging.getLogger("datahub.service")

AT_ONCE = 1000
"""Changes that are written in one transaction."""

TIDY_SECONDS = 10.0
"""Between two times that old calls are forgotten."""


class Backlog(Entries):
    """All that a service has accepted. For several threads.

    ``limit`` is how many subtasks there may be, those that run included. ``drained`` is what those
    that run end as when the service does, if they end. ``on_ended`` is called when the journal has
    the end of one that is still to be reported. Where subtasks run elsewhere, ``told`` takes those
    of which something is asked: what waits here may be at work there, so it has to end them.

    Attributes:
        problem: why the last write failed, if it did.
        sent_again: what is begun anew when it is over, but for what only repeats a call.
    """

    def __init__(
        self,
        kept: Queue,
        plugins: Iterable[str],
        *,
        limit: int,
        drained: TaskStatus | None = None,
        on_ended: Callable[[], None],
        told: Callable[[Entry], None] | None = None,
    ) -> None:
        super().__init__(plugins, told=told)
        self._kept = kept
        self._drained = drained
        self._limit = limit
        self._on_ended = on_ended
        self._places = itertools.count(1)
        self._inbox: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        self._unwritten: list[Change] = []
        self._tidy_at = 0.0
        self.problem: JournalError | None = None
        self.sent_again: SentAgain = SentAgain()
        self._load()
        self._writer = threading.Thread(target=self._write, daemon=True, name="backlog")
        self._writer.start()

    # For those who call

    def add(self, submission: Submission) -> Future[Addition]:
        """Accept a subtask; the answer comes when it is on disk."""
        change = Add(submission)
        self._inbox.put(change)
        return change.reply

    def manage(
        self, subtask_id: str, status: TaskStatus, *, plugin: str | None, call: int | None
    ) -> Future[None]:
        """Resume (1), pause (2) or cancel (4) a subtask; Refused where that cannot be."""
        change = Manage(subtask_id, status, plugin, call)
        self._inbox.put(change)
        return change.reply

    def remember(self, call: int) -> Future[None]:
        """Have the number of a call on disk."""
        change = Remember(call)
        self._inbox.put(change)
        return change.reply

    # For those who run

    def put_back(self, entry: Entry, seconds: float) -> None:
        """Nothing was run: have it taken again after a while, unless it was cancelled meanwhile."""
        if not self.wait_again(entry, seconds):
            self._inbox.put(Remove(entry.subtask_id, never_ran(entry.subtask_id, CANCELLED, None)))

    def remove(
        self,
        entry: Entry,
        *,
        ended: Ended | None = None,
        failed: str | None = None,
        refused: str | None = None,
    ) -> Future[None]:
        """The subtask is over; done when that is on disk.

        ``ended`` is what it ended as elsewhere. ``failed`` says why where it never ran, and is
        reported; ``refused`` why Datahub does not want it started, and is kept.
        """
        entry.run = None
        if failed is not None:
            ended = never_ran(entry.subtask_id, TaskStatus.FAILED, failed)
        change = Remove(entry.subtask_id, ended, refused)
        self._inbox.put(change)
        return change.reply

    def is_repeat(self, submission: Submission) -> None:
        """It was sent again before it had ended, so there is nothing to begin anew."""
        if self.sent_again.is_repeat(submission):
            self._compare(submission)

    def follow(self, subtask_id: str, status: TaskStatus) -> None:
        """Note that a subtask was paused or resumed by other means than ``manage``."""
        self._inbox.put(Follow(subtask_id, status))

    def close(self) -> None:
        """Write what is left, and stop."""
        self._inbox.put(None)
        self._writer.join()

    def _load(self) -> None:
        for found in self._kept.waiting():
            self._places = itertools.count(found.place + 1)
            entry = Entry(
                found.subtask_id,
                found.plugin,
                found.place,
                found.accepted,
                TaskStatus(found.wanted),
                attempts=found.attempts,
                elsewhere=self._told is not None,
            )
            if not self._turns.serves(found.plugin):
                log.warning(
                    "subtask %s waits for plugin %s, which is not served",
                    found.subtask_id,
                    found.plugin,
                )
                self._kept.explain(found.plugin, "the service does not serve this plugin")
            elif entry.wanted is CANCELLED and self._told is None:
                self._kept.write(Changes(ended=[never_ran(found.subtask_id, CANCELLED, None)]))
                continue
            self.begin([entry])
            if entry.wanted is CANCELLED:
                self._tell(entry)

    # What writes: one thread

    def _write(self) -> None:
        while True:
            changes = [self._inbox.get()]
            while len(changes) < AT_ONCE and not self._inbox.empty():
                changes.append(self._inbox.get())
            known = [change for change in changes if change is not None]
            self._commit([change for change in known if not isinstance(change, Manage)])
            for change in known:
                if isinstance(change, Manage):
                    self._settle_manage(change)
            self._tidy()
            if None in changes:
                return

    def _tidy(self) -> None:
        """Have calls forgotten that are too old to be valid again."""
        if time.monotonic() >= self._tidy_at:
            self._tidy_at = time.monotonic() + TIDY_SECONDS
            with suppress(JournalError):  # it is only room
                self._kept.forget_calls(time.time() - MEMORY_SECONDS)

    def _commit(self, changes: list[Change]) -> None:
        changes, self._unwritten = [*self._unwritten, *changes], []
        if not changes:
            return
        plan = Plan(
            self,
            self._kept,
            self.sent_again,
            self._places,
            limit=self._limit,
            elsewhere=self._told is not None,
        )
        try:
            plan.take(changes)
            self._kept.write(plan.written)
        except JournalError as error:
            self.problem = error
            log.exception("what was accepted cannot be kept")
            for change in changes:
                if isinstance(change, Add | Remember):
                    change.reply.set_exception(error)
            self._unwritten = [one for one in changes if isinstance(one, Remove)]
            return
        self.problem = None
        self.begin(plan.fresh.values())
        for reply, answer in plan.answers:
            reply.set_result(answer)
        if any(one.fate == "pending" for one in plan.written.ended):
            self._on_ended()
        for change in changes:
            self._after(change)

    def _after(self, change: Change) -> None:
        if isinstance(change, Remove):
            self.sent_again.forget(change.subtask_id)
        if not isinstance(change, Add) or change.reply.result() != "known":
            return
        if change.submission.subtask_id not in self.sent_again:
            self._compare(change.submission)

    def _compare(self, repeat: Submission) -> None:
        """Say so where a subtask is sent again, and with another config."""
        with suppress(JournalError):  # the next write says what is wrong with it
            given = self._kept.config(repeat.subtask_id)
            if given is not None and given != json.loads(repeat.config):
                log.warning(
                    "subtask %s was sent again with another config, which is ignored",
                    repeat.subtask_id,
                )

    def _settle_manage(self, change: Manage) -> None:
        try:
            self._manage(change)
        except (Refused, JournalError) as error:
            change.reply.set_exception(error)
        else:
            change.reply.set_result(None)

    def _manage(self, change: Manage) -> None:
        entry = self.find(change.subtask_id)
        ended = self._kept.endings([change.subtask_id]).get(change.subtask_id)
        if ended is not None:
            status = TaskStatus(ended.status).name.lower()
            raise _impossible(f"subtask {change.subtask_id} has ended already ({status})")
        if entry is None or change.plugin not in {None, entry.plugin}:
            raise _impossible(f"there is no subtask {change.subtask_id} here")
        if entry.wanted is CANCELLED and change.status is not CANCELLED:
            raise _impossible(f"subtask {change.subtask_id} is being cancelled")
        if self.draining and entry.run is not None and self._drained not in {None, change.status}:
            raise _impossible(f"the service is shutting down, and ends subtask {entry.subtask_id}")
        calls = [] if change.call is None else [change.call]
        if change.status is CANCELLED and self._told is None and self._drop(entry, calls):
            return
        self._kept.write(Changes(wanted=[(entry.subtask_id, int(change.status))], calls=calls))
        self.want(entry, change.status)
        if change.status is CANCELLED and self._told is None:
            self._drop(entry, [])  # it may just have been put back

    def _drop(self, entry: Entry, calls: list[int]) -> bool:
        """End a subtask that waits; False for one that runs."""
        if not self.withhold(entry):
            return False
        try:
            ended = never_ran(entry.subtask_id, CANCELLED, None)
            self._kept.write(Changes(ended=[ended], calls=calls))
        except JournalError:
            self.give_back([entry])
            raise
        self.forget(entry.subtask_id)
        log.info("subtask %s: cancelled before it was started", entry.subtask_id)
        self._on_ended()
        return True


def _impossible(message: str) -> Refused:
    return Refused(200, message, api_code=BUSINESS_ERROR)


def never_ran(subtask_id: str, status: TaskStatus, error: str | None) -> Ended:
    """The end of a subtask that no attempt was made at."""
    path, body = status_report(subtask_id, status)
    outcome: dict[str, Any] = {"result": None, "outputs": [], "error": error, "attempt": 0}
    return Ended(subtask_id, int(status), path, body, outcome)
