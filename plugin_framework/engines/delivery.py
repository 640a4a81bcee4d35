"""Delivers what earlier runs left in the journal, without running user code."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress

from plugin_framework.engines.local import JOURNAL, datahub_client
from plugin_framework.errors import DatahubError, RejectedError, TaskLockedError
from plugin_framework.journal.journal import Journal
from plugin_framework.journal.records import Record
from plugin_framework.lifecycle.folders import remove_work_dir, subtask_lock
from plugin_framework.lifecycle.reporter import Delivery, Reporter
from plugin_framework.protocol.client import DatahubClient
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.settings import Settings

POLL_SECONDS = 0.05

log: logging.Logger = logging.getLogger("datahub.delivery")


def deliver_kept(
    settings: Settings, journal: Journal, records: Iterable[Record]
) -> Iterator[tuple[Record, Delivery]]:
    """Deliver the reports of these subtasks, one after the other, and yield what came of each.

    They have ``DELIVERY_DEADLINE`` seconds together. One that is running is left to its run; so is
    one that has only begun: that it runs is for its next run to say.

    Raises:
        RetryableError: Datahub did not answer within ``STARTUP_DEADLINE``.
        FinalError: Datahub does not accept our calls at all.
        JournalError: what came of it cannot be kept.
    """
    give_up_at = None
    with closing(datahub_client(settings.require_datahub(), settings)) as client:
        for record in records:
            if give_up_at is None:
                _reach(client, record, settings.startup_deadline)
                give_up_at = time.monotonic() + settings.delivery_deadline
            left = max(give_up_at - time.monotonic(), 0)
            yield record, _deliver(settings, journal, client, record, left)


def deliver_the_rest(settings: Settings, subtask_id: str, *, begun: Callable[[], bool]) -> None:
    """Deliver what was kept of all subtasks but one, which is being run, once it has ``begun``.

    What goes wrong is logged: it is tried again at the next start.
    """
    while not begun():
        threading.Event().wait(POLL_SECONDS)
    try:
        with closing(Journal(settings.state_dir / JOURNAL)) as journal:
            records = journal.records.all()
            kept = [one for one in records if one.pending and one.subtask_id != subtask_id]
            for record, delivery in deliver_kept(settings, journal, kept):
                outcome = "delivered" if delivery.done else delivery.error
                log.info("what was kept of subtask %s: %s", record.subtask_id, outcome)
    except DatahubError as error:
        log.warning("what was kept of other subtasks: %s", error)


def _reach(client: DatahubClient, record: Record, patience: float) -> None:
    with suppress(RejectedError):  # an answer, too
        client.notify(record.task_id or record.subtask_id, patience=patience)


def _deliver(
    settings: Settings, journal: Journal, client: DatahubClient, record: Record, seconds: float
) -> Delivery:
    subtask_id = record.subtask_id
    try:
        with subtask_lock(settings.state_dir, subtask_id, to_run=False):
            if any(
                one.status == TaskStatus.RUNNING for one in journal.pending_reports(subtask_id)[-1:]
            ):
                return Delivery(
                    done=False, error="it has begun here, and goes on when it is run again"
                )
            with closing(Reporter(client, journal, subtask_id, task_id=record.task_id)) as reporter:
                reporter.start()
                delivery = reporter.wait(seconds)
            if not delivery.done and delivery.superseded_by is None:
                journal.timeline.note(subtask_id, "undelivered", error=delivery.error)
            if journal.ending(subtask_id) is not None:
                remove_work_dir(settings.state_dir, subtask_id)
            return delivery
    except TaskLockedError as error:
        return Delivery(done=False, error=str(error))
