"""Keeps how a subtask ended, before Datahub is told of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from plugin_framework.lifecycle.reporter import Reporter
from plugin_framework.lifecycle.room import wait_for_room
from plugin_framework.protocol.models import TaskStatus

log: logging.Logger = logging.getLogger("datahub.runner")


def keep_ending(
    reporter: Reporter,
    who: str,
    ending: tuple[TaskStatus, dict[str, Any] | None, dict[str, Any]],
    *,
    patience: float,
    ended: Callable[[float], bool],
    make_room: Callable[[], object],
) -> None:
    """Journal an ending (status, result, outcome) and queue it; see ``room.wait_for_room``.

    Raises:
        JournalError: the journal does not take it.
    """
    status, result, outcome = ending

    def write() -> None:
        if status is TaskStatus.COMPLETED:
            # A task may return while another of its threads is held at a checkpoint.
            reporter.report(TaskStatus.RUNNING)
        reporter.end(status, result, outcome)

    what = f"how subtask {who} ended"
    wait_for_room(write, what, patience=patience, ended=ended, make_room=make_room)


def queue_unkept(
    reporter: Reporter,
    who: str,
    ending: tuple[TaskStatus, dict[str, Any] | None, dict[str, Any]],
    shared: bool,  # noqa: FBT001 - a fact about the journal
) -> None:
    """Queue an ending that the journal does not take; one of a ``shared`` journal waits for it."""
    how = "sent to Datahub once it can be kept" if shared else "sent to Datahub without being kept"
    log.error("subtask %s: how it ended is %s%s", who, how, "" if shared else " first")
    status, result, outcome = ending
    reporter.end(status, result, outcome, kept=False)
