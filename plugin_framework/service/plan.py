"""What one transaction of the backlog writes, and what is answered once it is on disk."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from plugin_framework.journal.queue import Accepted, Changes, Ending, Queue
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.service.changes import (
    Add,
    Addition,
    Change,
    Follow,
    Remember,
    Remove,
    Submission,
)
from plugin_framework.service.entries import Entries
from plugin_framework.service.sent_again import SentAgain
from plugin_framework.service.turns import Entry


class Plan:
    """Takes changes in their order, but additions last: what is over makes room.

    ``places`` gives each new subtask its place. ``elsewhere`` is as ``Entry`` has it.

    Attributes:
        written: what is to be written.
        fresh: the subtasks that are accepted by it.
        answers: who waits for it, and for which answer.
    """

    def __init__(
        self,
        entries: Entries,
        kept: Queue,
        sent_again: SentAgain,
        places: Iterator[int],
        *,
        limit: int,
        elsewhere: bool,
    ) -> None:
        self._entries = entries
        self._kept = kept
        self._sent_again = sent_again
        self._places = places
        self._limit = limit
        self._elsewhere = elsewhere
        self.written: Changes = Changes()
        self.fresh: dict[str, Entry] = {}
        self.answers: list[tuple[Future[Any], Addition | None]] = []

    def take(self, changes: Collection[Change]) -> None:
        """Plan these.

        Raises:
            JournalError: what has ended before cannot be read.
        """
        for change in changes:
            if isinstance(change, Remove):
                self._remove(change)
            elif isinstance(change, Follow):
                self._follow(change)
            elif isinstance(change, Remember):
                self.written.calls.append(change.call)
                self.answers.append((change.reply, None))
        added = [change for change in changes if isinstance(change, Add)]
        ended = self._kept.endings([one.submission.subtask_id for one in added]) if added else {}
        self._begin_anew()
        for change in added:
            if change.submission.call is not None:
                self.written.calls.append(change.submission.call)
            self.answers.append((change.reply, self._add(change.submission, ended)))

    def _remove(self, change: Remove) -> None:
        self._entries.forget(change.subtask_id)
        if change.ended:
            self.written.ended.append(change.ended)
        elif change.refused:
            self.written.dropped.append((change.subtask_id, change.refused))
        else:
            self.written.removed.append(change.subtask_id)
        self.answers.append((change.reply, None))

    def _follow(self, change: Follow) -> None:
        entry = self._entries.find(change.subtask_id)
        if entry is None or self._entries.draining:
            return
        if entry.wanted in {TaskStatus.CANCELLED, change.status}:
            return
        # What was asked of the run since, or before it began, stands.
        if entry.run is None or entry.run.pausing != (change.status is TaskStatus.PAUSED):
            return
        entry.wanted = change.status
        self.written.wanted.append((change.subtask_id, int(change.status)))

    def _begin_anew(self) -> None:
        # Of these Datahub knows that they are over.
        told = [one.subtask_id for one in self.written.ended if one.fate != "pending"]
        over = [*told, *(one for one, _ in self.written.dropped), *self.written.removed]
        for submission in self._sent_again.of(over):
            self._accept(submission)

    def _add(self, submission: Submission, ended: Mapping[str, Ending]) -> Addition:
        subtask_id = submission.subtask_id
        ending, is_here = ended.get(subtask_id), self._entries.find(subtask_id) is not None
        # One that Datahub knows to have ended may have been created anew: its run asks.
        is_known = ending is not None and not ending.delivered
        if is_here or subtask_id in self.fresh or is_known:
            if self._elsewhere and is_here:
                self._sent_again.add(submission)
            return "known"
        if self._entries.draining:
            return "known" if ending else "draining"
        if self._entries.size + len(self.fresh) >= self._limit:
            return "known" if ending else "busy"
        self._accept(submission)
        return "accepted"

    def _accept(self, submission: Submission) -> None:
        subtask_id, plugin, place = submission.subtask_id, submission.plugin, next(self._places)
        self.fresh[subtask_id] = Entry(
            subtask_id, plugin, place, time.time(), elsewhere=self._elsewhere
        )
        self.written.added.append(
            Accepted(place, subtask_id, submission.task_id, plugin, submission.config)
        )
