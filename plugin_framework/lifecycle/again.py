"""What becomes of a subtask that has ended here before, when it is to run again."""

from __future__ import annotations

import logging

from plugin_framework.errors import DatahubError
from plugin_framework.journal.journal import Report
from plugin_framework.lifecycle.control import LONGEST_DEADLINE
from plugin_framework.lifecycle.outcome import TaskOutcome, outcome_of
from plugin_framework.lifecycle.reporter import Delivery, Reporter
from plugin_framework.lifecycle.supervisor import Supervisor, Task
from plugin_framework.protocol.models import TaskStatus

log: logging.Logger = logging.getLogger("datahub.runner")


def is_created_anew(supervisor: Supervisor, task: Task, ending: Report) -> bool:
    """Whether Datahub, which had acknowledged the ending, has created the subtask anew.

    If so, the journal has forgotten it.
    """
    if ending.fate != "delivered":
        return False
    try:
        status = supervisor.client.notify(
            task.task_id or task.subtask_id, patience=0, deadline=LONGEST_DEADLINE
        )
    except DatahubError:
        return False
    if status is TaskStatus.INITIAL:
        log.warning("subtask %s ended here once, and was created anew", task.subtask_id)
        supervisor.journal.forget(task.subtask_id)
    return status is TaskStatus.INITIAL


def settled_outcome(ending: Report, reporter: Reporter) -> TaskOutcome | None:
    """The outcome, where nothing is left to be delivered."""
    ended = TaskStatus(ending.status).name.lower()
    who = ending.subtask_id
    log.warning("subtask %s has ended already (%s): the plugin is not run again", who, ended)
    if ending.fate == "delivered":
        return outcome_of(ending, Delivery(done=True))
    if ending.fate == "refused":
        found = reporter.final_status()
        refused = Delivery(done=False, error="Datahub refused the report", superseded_by=found)
        return outcome_of(ending, refused)
    return None
