"""Why a task is stopped before its work is done."""

from __future__ import annotations

from dataclasses import dataclass

from plugin_framework.protocol.models import TaskStatus

FENCED_SECONDS = 3.0
"""The grace of a task that goes on elsewhere already: shorter, for two must not work on it long."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a task is stopped, and the status to report.

    Without one nothing is reported; ``found`` is then what Datahub has, where it ended the subtask.
    """

    status: TaskStatus | None
    error: str | None
    signal: int | None = None
    found: TaskStatus | None = None

    @property
    def by_datahub(self) -> bool:
        """Whether Datahub wants no result any more; not so a signal or a time limit."""
        return self.signal is None and self.status is not TaskStatus.FAILED
