"""What a measurement comes to: counts, percentiles, and what was the limit. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from plugin_framework.emulator.bench.ledger import Task
from plugin_framework.protocol.models import TaskStatus

_BUSY_CORES: Final = 0.9
"""Share of the machine's processors from which on they count as used up."""

_MANY: Final = 10
"""So many times the shortest wait, and more than a second: a task has waited for its turn."""

_FULL: Final = 0.5
"""Share of the most that ran at once, from which on all places count as taken: as one task gives
its place up and the next one starts, neither runs."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How some times are spread, in seconds."""

    count: int
    p50: float
    p90: float
    p99: float
    longest: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Spread | None:
        """By nearest rank: each is a time that was measured. None where there are none."""
        ordered = sorted(seconds)
        if not ordered:
            return None
        p50, p90, p99 = (ordered[math.ceil(len(ordered) * p / 100) - 1] for p in (50, 90, 99))
        return cls(len(ordered), p50, p90, p99, ordered[-1])

    def as_json(self) -> dict[str, float]:
        """The fields, in seconds."""
        return {
            "count": self.count,
            "p50": round(self.p50, 6),
            "p90": round(self.p90, 6),
            "p99": round(self.p99, 6),
            "max": round(self.longest, 6),
        }


@dataclass(frozen=True, slots=True)
class Flight:
    """How many tasks waited for their start, and how many ran, from ``at`` on (Unix seconds)."""

    at: float
    waiting: int
    running: int


@dataclass(frozen=True, slots=True)
class Figures:
    """All that is shown of a measurement. Times are in seconds.

    ``cores_busy`` is the share of this machine's processors in use while tasks were offered or ran;
    ``beat`` the interval that heartbeats are to come at.
    """

    tasks: Sequence[Task]
    rate: float
    beat: float
    cores: int
    cores_busy: float | None
    times: Mapping[str, list[float]] = field(init=False)
    flights: Sequence[Flight] = field(init=False)

    def __post_init__(self) -> None:
        """Work out what the rest is read from."""
        object.__setattr__(self, "times", _times(self.tasks, self.beat))
        object.__setattr__(self, "flights", list(_flights(self.tasks)))

    @property
    def counts(self) -> dict[str, int]:
        """How many tasks came how far; a task that had started counts as accepted."""
        answers = Counter(task.answer for task in self.tasks)
        statuses = Counter(task.status for task in self.tasks)
        accepted = sum(task.answer == "accepted" for task in self.tasks)
        return {
            "planned": len(self.tasks),
            "offered": len(self.tasks) - answers[None],
            "accepted": accepted,
            "refused_busy": answers["busy"],
            "refused": answers["refused"],
            "unanswered": answers["none"],
            "completed": statuses[TaskStatus.COMPLETED],
            "failed": statuses[TaskStatus.FAILED],
            "cancelled": statuses[TaskStatus.CANCELLED],
            "unfinished": sum(not task.over for task in self.tasks if task.answer == "accepted"),
        }

    @property
    def seconds(self) -> float:
        """From the first offer to the last thing that happened."""
        moments = [x for t in self.tasks for x in (t.answered, t.ended) if x is not None]
        return max(moments) - self.tasks[0].due if moments else 0.0

    @property
    def waiting_still(self) -> list[float]:
        """How long those had waited at the end that were accepted, and never started."""
        end = self.tasks[0].due + self.seconds
        left = (t for t in self.tasks if t.answer == "accepted" and not t.over and not t.started)
        return [end - task.due for task in left]

    @property
    def throughput(self) -> float:
        """Completed tasks a second, from the first offer to the last end."""
        ends = [t.ended for t in self.tasks if t.ended and t.status is TaskStatus.COMPLETED]
        return len(ends) / max(max(ends) - self.tasks[0].due, 1e-9) if ends else 0.0

    @property
    def most_running(self) -> int:
        """Tasks that ran at once, at the most."""
        return max((flight.running for flight in self.flights), default=0)

    @property
    def most_waiting(self) -> int:
        """Tasks that waited for their start at once, at the most."""
        return max((flight.waiting for flight in self.flights), default=0)

    def as_json(self) -> dict[str, Any]:
        """All of it, for programs; ``limit`` is the sentence for people."""
        spreads = {name: Spread.of(times) for name, times in self.times.items()}
        return {
            "rate": self.rate,
            "seconds": round(self.seconds, 3),
            **self.counts,
            **{name: spread and spread.as_json() for name, spread in spreads.items()},
            "completed_per_second": round(self.throughput, 3),
            "most_running": self.most_running,
            "most_waiting": self.most_waiting,
            "cores": self.cores,
            "cores_busy": self.cores_busy and round(self.cores_busy, 3),
            "limit": limit(self),
        }


def _times(tasks: Sequence[Task], beat: float) -> dict[str, list[float]]:
    started = [t for t in tasks if t.started is not None]
    completed = [t for t in tasks if t.status is TaskStatus.COMPLETED and t.ended is not None]
    return {
        "create_task": [t.answered - t.due for t in tasks if t.answered is not None],
        "wait": [t.started - t.due for t in started if t.started is not None],
        "run": [t.ended - t.started for t in started if t.ended and t.started],
        "result": [t.ended - t.due for t in completed if t.ended is not None],
        "heartbeat_late": [
            max(after - before - beat, 0.0) for t in tasks for before, after in pairwise(t.beats)
        ],
    }


def _flights(tasks: Iterable[Task]) -> Iterator[Flight]:
    changes: list[tuple[float, int, int]] = []
    for task in tasks:
        if task.answer == "accepted" or task.started is not None:
            changes.append((task.due, 1, 0))
        if task.started is not None:
            changes.append((task.started, -1, 1))
        if task.ended is not None:
            changes.append((task.ended, *((0, -1) if task.started is not None else (-1, 0))))
    waiting = running = 0
    for at, more_waiting, more_running in sorted(changes):
        waiting, running = waiting + more_waiting, running + more_running
        yield Flight(at, waiting, running)


def limit(figures: Figures) -> str:
    """What kept more tasks from being done, in one sentence."""
    counts = figures.counts
    waits = sorted([*figures.times["wait"], *figures.waiting_still])
    started = len(figures.times["wait"])
    if counts["unanswered"] or not started:
        problems = [task.problem for task in figures.tasks if task.problem]
        why = f" ({problems[0]})" if problems else ""
        return (
            f"What limits it cannot be told: {counts['unanswered']} calls were not answered, and"
            f" {started} tasks started{why}."
        )
    refused = counts["refused_busy"]
    full = f", and {refused} more were refused because the queue was full" if refused else ""
    soon = waits[-1] < max(_MANY * waits[0], 1.0)
    if soon and not refused and len(figures.waiting_still) <= figures.most_running:
        return (
            f"Nothing was at its limit: each task started within {waits[-1]:.1f} s, and at the most"
            f" {_tasks(figures.most_running)} ran at once."
        )
    waited = f"while up to {figures.most_waiting} waited for their start{full}"
    if figures.cores_busy is not None and figures.cores_busy >= _BUSY_CORES:
        return (
            f"CPU: this machine's {figures.cores} cores were {100 * figures.cores_busy:.0f} % busy"
            f" {waited}."
        )
    if _places_taken(figures.flights, figures.most_running):
        return (
            f"Slots: {_tasks(figures.most_running)} ran at once, and never more, {waited};"
            " DATAHUB_MAX_CONCURRENCY is how many may."
        )
    return f"Starting tasks took the time: {_tasks(figures.most_running)} ran at once {waited}."


def _tasks(count: int) -> str:
    return f"{count} task{'' if count == 1 else 's'}"


def _places_taken(flights: Sequence[Flight], most: int) -> bool:
    """Whether as many as ever ran at once did so nearly all the time that others waited."""
    waited = ran = 0.0
    for flight, after in pairwise(flights):
        if flight.waiting:
            waited += after.at - flight.at
            ran += flight.running * (after.at - flight.at)
    return waited > 0 and ran >= _FULL * most * waited
