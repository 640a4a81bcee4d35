"""What the service knows of whatever runs its subtasks, here or on many machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """A node that is alive; ``age`` is the seconds since its last sign of life.

    ``ended`` are the subtasks that it brought to their end, by their status.
    """

    name: str
    plugins: Sequence[str]
    slots: int
    running: int
    draining: bool
    age: float
    ended: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class QueueSeen:
    """The subtasks of a plugin that no node has taken.

    ``needs`` is their resource class. ``depth`` is how many are with the engine, None where that
    cannot be found out; ``oldest_seconds`` is how long the first of all waits, handed over or not,
    and ``reason`` why, if for more than its turn.
    """

    plugin: str
    needs: str
    depth: int | None
    oldest_seconds: float | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Outlook:
    """A cluster as the service sees it: ``problem`` is why it cannot be used now, if so.

    ``handed_over`` and ``published_again`` count since the service began.
    """

    nodes: Sequence[NodeSeen] = ()
    queues: Sequence[QueueSeen] = ()
    problem: str | None = None
    handed_over: int = 0
    published_again: int = 0

    def facts(self) -> dict[str, Any]:
        """What the answer to a health check says of it."""
        nodes = [
            {
                "name": node.name,
                "plugins": list(node.plugins),
                "slots": node.slots,
                "running": node.running,
                "draining": node.draining,
                "age": round(node.age, 1),
            }
            for node in self.nodes
        ]
        queues = [
            {
                "plugin": queue.plugin,
                "class": queue.needs,
                "depth": queue.depth,
                "oldest_seconds": queue.oldest_seconds and round(queue.oldest_seconds, 1),
                "reason": queue.reason,
            }
            for queue in self.queues
        ]
        return {"nodes": nodes, "queues": queues, "problem": self.problem}


class Dispatching(Protocol):
    """Has the subtasks of the backlog run."""

    def start(self) -> None:
        """Begin."""

    def runs(self, subtask_id: str) -> bool:
        """Whether a subtask's reports are somebody else's to send."""

    def shut_down(self, number: int) -> None:
        """Start no more, for a signal; a second time, at once."""

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is left to do here; False if that took longer."""

    def outlook(self) -> Outlook | None:
        """The cluster as it was a moment ago, where there is one; nothing is waited for."""
