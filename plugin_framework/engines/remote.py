"""What an engine that spreads subtasks over many machines does for the service.

An engine brings each subtask that was handed over to some node, and there has
``cluster.attempt.run_attempt`` called for it: again, where the node is lost or gives it back. How a
subtask goes on, and what it ends as, is told by the shared store, never by the engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from plugin_framework.errors import DatahubError, Problem
from plugin_framework.protocol.models import TaskStatus


@dataclass(frozen=True, slots=True)
class Handed:
    """A subtask to hand over: ``config`` is JSON text.

    ``attempt`` is the number that its attempt is likely to have, for people: the lease decides.
    ``store`` is the identity of the store that it is opened in.
    """

    subtask_id: str
    task_id: str | None
    plugin: str
    config: str = field(repr=False)
    attempt: int = 1
    store: str = ""


class RemoteEngine(Protocol):
    """One of those engines. All methods may be called from any thread."""

    name: str

    def hand_over(self, batch: Sequence[Handed]) -> Mapping[str, DatahubError | None]:
        """Return once it is known of each subtask that the engine will not lose it, or why not.

        The answer has every subtask of the batch; None means that it is safe. One of which that is
        not known may have been handed over all the same.
        """

    def control(self, subtask_id: str, status: TaskStatus) -> None:
        """Have the run of a subtask, wherever it is, pause, go on or be cancelled.

        By RUNNING, PAUSED or CANCELLED. At once, as far as that can be: nothing is waited for or
        raised, and a run that was not reached finds out by asking Datahub.
        """

    def depth(self, plugin: str) -> int | None:
        """How many subtasks of a plugin wait for a node; None if that cannot be found out now."""

    def problem(self) -> Problem | None:
        """Why nothing can be handed over now, if so; nothing is waited for."""

    def close(self) -> None:
        """Close all connections; what was handed over stays so."""
