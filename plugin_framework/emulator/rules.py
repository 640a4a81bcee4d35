"""What Datahub accepts of a plugin, and what it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from plugin_framework.errors import DatahubError
from plugin_framework.protocol.models import TaskStatus

BUSINESS_ERROR: Final = 1
BAD_REQUEST: Final = 400
UNAUTHORIZED: Final = 401
TOO_LARGE: Final = 413

NEXT: Mapping[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.INITIAL: frozenset({TaskStatus.RUNNING, TaskStatus.CANCELLED, TaskStatus.FAILED}),
    TaskStatus.RUNNING: frozenset({TaskStatus.PAUSED, TaskStatus.CANCELLED, TaskStatus.FAILED}),
    TaskStatus.PAUSED: frozenset({TaskStatus.RUNNING, TaskStatus.CANCELLED, TaskStatus.FAILED}),
}
"""What update_status may make of a status. A final status has nothing after it."""

ACTIVE: Final = frozenset({TaskStatus.RUNNING, TaskStatus.PAUSED})
"""Where heartbeats and a result are due."""


class Refused(DatahubError):  # noqa: N818 - an answer of the emulator, not a fault of it
    """Datahub says no. ``api_code`` is the envelope's, and from 400 on the HTTP status too."""

    def __init__(self, message: str, api_code: int = BUSINESS_ERROR) -> None:
        super().__init__(message)
        self.message = message
        self.api_code = api_code


def check_transition(old: TaskStatus, new: TaskStatus) -> None:
    """Refuse a change that is none of ``NEXT``; saying again what holds already is fine.

    Raises:
        Refused: with code 1.
    """
    if new is TaskStatus.COMPLETED:
        raise Refused("status 3 is set by /api/task/result only")
    if new not in NEXT[old] and not (new is old and old in ACTIVE):
        raise Refused(f"status {old:d} cannot become {new:d}")


def check_active(status: TaskStatus) -> None:
    """Refuse what only a running or paused subtask may send."""
    if status not in ACTIVE:
        raise Refused(f"the subtask is not running (status {status:d})")
