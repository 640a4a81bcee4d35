"""How one run of a subtask ended, for whoever started it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from plugin_framework.journal.journal import Report
from plugin_framework.lifecycle.reporter import Delivery
from plugin_framework.plugin.context import UploadedFile
from plugin_framework.protocol.models import TaskStatus


@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """How a subtask ended.

    Attributes:
        status: COMPLETED, CANCELLED or FAILED; PAUSED or RUNNING where a signal stopped the run
            and the subtask is to go on at the next start.
        result: the JSON object that was reported, if it completed.
        outputs: the files that were uploaded.
        error: one line on what went wrong, if something did.
        delivered: whether Datahub has acknowledged the last report; if not, the journal keeps it.
            Where that was impossible too, the status is FAILED, and ``result`` is what is lost.
        attempt: the number of the attempt, from 1.
        signal: the number of the signal that stopped the run, if one did.
        kept: whether what is not delivered is in the journal.
    """

    subtask_id: str
    status: TaskStatus
    result: dict[str, Any] | None
    outputs: tuple[UploadedFile, ...]
    error: str | None
    delivered: bool
    attempt: int
    signal: int | None = None
    kept: bool = True

    def as_json(self) -> dict[str, Any]:
        """The outcome as ``datahub-plugin run`` prints it."""
        return {
            "subtask_id": self.subtask_id,
            "status": int(self.status),
            "status_name": self.status.name.lower(),
            "result": self.result,
            "outputs": [asdict(output) for output in self.outputs],
            "error": self.error,
            "delivered": self.delivered,
            "attempt": self.attempt,
        }

    @property
    def exit_code(self) -> int:
        """What ``datahub-plugin run`` exits with."""
        if not self.delivered and self.kept:
            return 75
        if self.status in _EXIT_CODES:
            return _EXIT_CODES[self.status]
        return 128 + (self.signal or 0)


_EXIT_CODES = {TaskStatus.COMPLETED: 0, TaskStatus.FAILED: 1, TaskStatus.CANCELLED: 4}


def outcome_of(ending: Report, delivery: Delivery, *, kept: bool = True) -> TaskOutcome:
    """The outcome of a subtask that has ended, and whose ending was to be delivered."""
    facts = ending.outcome or {}
    superseded = delivery.superseded_by
    delivered = delivery.done or superseded is not None
    status, error = TaskStatus(ending.status), facts["error"]
    if superseded is not None:
        status = superseded
        error = f"Datahub had ended the subtask as {superseded.name.lower()} before our report"
    elif not delivered and not kept:
        status = TaskStatus.FAILED
        lost = f"how it ended could be neither kept nor delivered: {delivery.error}"
        error = f"{error}; {lost}" if error else lost
    return TaskOutcome(
        ending.subtask_id,
        status,
        facts["result"] if superseded is None else None,
        tuple(UploadedFile(**output) for output in facts["outputs"]),
        error if delivered else error or delivery.error,
        delivered,
        facts["attempt"],
        kept=kept,
    )
