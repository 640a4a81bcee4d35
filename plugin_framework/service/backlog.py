"""The subtasks that were accepted and are not over: in memory, and in the journal before that.

One thread writes. What arrives while it waits for the disk is written together, so that many calls
share one wait. Whoever starts subtasks takes them from here, one plugin after the other.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Literal

from plugin_framework.errors import JournalError
from plugin_framework.journal.queue import Accepted, Changes, Ended, Ending, Queue
from plugin_framework.lifecycle.control import Controlled
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
from plugin_framework.service.sent_again import SentAgain
from plugin_framework.service.turns import Entry, Turns

log: logging.Logger = logging.getLogger("datahub.service")

AT_ONCE = 1000
"""Changes that are written in one transaction."""

TIDY_SECONDS = 10.0
"""Between two times that old calls are forgotten."""

RUNNING, PAUSED, CANCELLED = TaskStatus.RUNNING, TaskStatus.PAUSED, TaskStatus.CANCELLED


class Backlog:
    """All that a service has accepted. For several threads.

    ``limit`` is how many subtasks there may be, those that run included. ``drained`` is what those
    that run end as when the service does, if they end. ``on_ended`` is called when the journal has
    the end of one that is still to be reported. Where subtasks run elsewhere, ``told`` takes those
    of which something is asked: what waits here may be at work there, so it has to end them.

    Attributes:
        draining: nothing more is accepted or started.
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
        self._kept = kept
        self._drained = drained
        self._limit = limit
        self._on_ended = on_ended
        self._told = told
        self._changed = threading.Condition()
        self._entries: dict[str, Entry] = {}
        self._turns = Turns(plugins)
        self._place = 0
        self._inbox: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        self._unwritten: list[Change] = []
        self._tidy_at = 0.0
        self.draining: bool = False
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

    def put_back(self, entry: Entry, seconds: float) -> None:
        """Nothing was run: have it taken again after a while, unless it was cancelled meanwhile."""
        with self._changed:
            entry.run = None
            if entry.wanted is CANCELLED:
                ended = never_ran(entry.subtask_id, CANCELLED, None)
                self._inbox.put(Remove(entry.subtask_id, ended))
                return
            entry.state = "waiting"
            self._turns.add_later(entry, seconds)
            self._changed.notify_all()

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

    def find(self, subtask_id: str) -> Entry | None:
        """A subtask that is not over."""
        return self._entries.get(subtask_id)

    def all_in(self, state: Literal["handed", "running"]) -> list[Entry]:
        """Those that no node is seen to run, or that one is."""
        with self._changed:
            return [one for one in self._entries.values() if one.state == state]

    def is_repeat(self, submission: Submission) -> None:
        """It was sent again before it had ended, so there is nothing to begin anew."""
        if self.sent_again.is_repeat(submission):
            self._compare(submission)

    def longest_waiting(self) -> dict[str, float]:
        """Since when the first of each plugin's subtasks waits that do, in Unix seconds."""
        oldest: dict[str, float] = {}
        with self._changed:
            for entry in self._entries.values():
                if entry.state != "running" and entry.wanted is RUNNING:
                    oldest.setdefault(entry.plugin, entry.since)
        return oldest

    def follow(self, subtask_id: str, status: TaskStatus) -> None:
        """Note that a subtask was paused or resumed by other means than ``manage``."""
        self._inbox.put(Follow(subtask_id, status))

    def drain(self) -> list[Controlled]:
        """Accept and start nothing more; what runs."""
        with self._changed:
            self.draining = True
            self._changed.notify_all()
            return [entry.run for entry in self._entries.values() if entry.run]

    def close(self) -> None:
        """Write what is left, and stop."""
        self._inbox.put(None)
        self._writer.join()

    def _load(self) -> None:
        for found in self._kept.waiting():
            self._place = found.place
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
            self._entries[found.subtask_id] = entry
            self._turns.add(entry)
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
        written, fresh = Changes(), dict[str, Entry]()
        try:
            answers = self._plan(changes, written, fresh)
            self._kept.write(written)
        except JournalError as error:
            self.problem = error
            log.exception("what was accepted cannot be kept")
            for change in changes:
                if isinstance(change, Add | Remember):
                    change.reply.set_exception(error)
            self._unwritten = [one for one in changes if isinstance(one, Remove)]
            return
        self.problem = None
        with self._changed:
            self._entries.update(fresh)
            for entry in fresh.values():
                self._turns.add(entry)
            self._changed.notify_all()
        for reply, answer in answers:
            reply.set_result(answer)
        if any(one.fate == "pending" for one in written.ended):
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

    def _plan(
        self, changes: list[Change], written: Changes, fresh: dict[str, Entry]
    ) -> list[tuple[Future[Any], Addition | None]]:
        answers: list[tuple[Future[Any], Addition | None]] = []
        for change in changes:
            if isinstance(change, Remove):
                with self._changed:
                    self._entries.pop(change.subtask_id, None)
                if change.ended:
                    written.ended.append(change.ended)
                elif change.refused:
                    written.dropped.append((change.subtask_id, change.refused))
                else:
                    written.removed.append(change.subtask_id)
                answers.append((change.reply, None))
            elif isinstance(change, Follow):
                self._plan_follow(change, written)
            elif isinstance(change, Remember):
                written.calls.append(change.call)
                answers.append((change.reply, None))
        added = [change for change in changes if isinstance(change, Add)]
        ended = self._kept.endings([one.submission.subtask_id for one in added]) if added else {}
        # Of these Datahub knows that they are over.
        told = [one.subtask_id for one in written.ended if one.fate != "pending"]
        over = [*told, *(one for one, _ in written.dropped), *written.removed]
        for submission in self.sent_again.of(over):
            self._accept(submission, written, fresh)
        for change in added:
            if change.submission.call is not None:
                written.calls.append(change.submission.call)
            answer = self._plan_add(change.submission, written, fresh, ended)
            answers.append((change.reply, answer))
        return answers

    def _plan_add(
        self,
        submission: Submission,
        written: Changes,
        fresh: dict[str, Entry],
        ended: dict[str, Ending],
    ) -> Addition:
        subtask_id = submission.subtask_id
        ending = ended.get(subtask_id)
        # One that Datahub knows to have ended may have been created anew: its run asks.
        is_known = ending is not None and not ending.delivered
        if subtask_id in self._entries or subtask_id in fresh or is_known:
            if self._told is not None and subtask_id in self._entries:
                self.sent_again.add(submission)
            return "known"
        if self.draining:
            return "known" if ending else "draining"
        if len(self._entries) + len(fresh) >= self._limit:
            return "known" if ending else "busy"
        self._accept(submission, written, fresh)
        return "accepted"

    def _accept(self, submission: Submission, written: Changes, fresh: dict[str, Entry]) -> None:
        subtask_id = submission.subtask_id
        self._place += 1
        fresh[subtask_id] = Entry(
            subtask_id,
            submission.plugin,
            self._place,
            time.time(),
            elsewhere=self._told is not None,
        )
        written.added.append(
            Accepted(
                self._place,
                subtask_id,
                submission.task_id,
                submission.plugin,
                submission.config,
            )
        )

    def _plan_follow(self, change: Follow, written: Changes) -> None:
        entry = self._entries.get(change.subtask_id)
        if entry is None or self.draining or entry.wanted in {CANCELLED, change.status}:
            return
        # What was asked of the run since, or before it began, stands.
        if entry.run is None or entry.run.pausing != (change.status is PAUSED):
            return
        entry.wanted = change.status
        written.wanted.append((change.subtask_id, int(change.status)))

    def _settle_manage(self, change: Manage) -> None:
        try:
            self._manage(change)
        except (Refused, JournalError) as error:
            change.reply.set_exception(error)
        else:
            change.reply.set_result(None)

    def _manage(self, change: Manage) -> None:
        entry = self._entries.get(change.subtask_id)
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
        with self._changed:
            entry.wanted = change.status
            self._tell(entry)
            if entry.state == "waiting":
                self._turns.add(entry)
                self._changed.notify_all()
        if change.status is CANCELLED and self._told is None:
            self._drop(entry, [])  # it may just have been put back

    def _drop(self, entry: Entry, calls: list[int]) -> bool:
        """End a subtask that waits; False for one that runs."""
        with self._changed:
            if entry.state != "waiting":
                return False
            entry.state = "ending"
        try:
            ended = never_ran(entry.subtask_id, CANCELLED, None)
            self._kept.write(Changes(ended=[ended], calls=calls))
        except JournalError:
            with self._changed:
                entry.state = "waiting"
                self._turns.add(entry)
            raise
        with self._changed:
            del self._entries[entry.subtask_id]
        log.info("subtask %s: cancelled before it was started", entry.subtask_id)
        self._on_ended()
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


def _impossible(message: str) -> Refused:
    return Refused(200, message, api_code=BUSINESS_ERROR)


def never_ran(subtask_id: str, status: TaskStatus, error: str | None) -> Ended:
    """The end of a subtask that no attempt was made at."""
    path, body = status_report(subtask_id, status)
    outcome: dict[str, Any] = {"result": None, "outputs": [], "error": error, "attempt": 0}
    return Ended(subtask_id, int(status), path, body, outcome)
