"""What a million running subtasks ask of Datahub: a simulation, second by second.

It goes by the framework's own intervals, jitter and retries, which it imports: change them, and
these figures change.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plugin_framework.errors import ServerUnavailableError
from plugin_framework.lifecycle.heartbeat import EARLIEST_SHARE, grid_of
from plugin_framework.lifecycle.polling import CALLS_PER_SECOND
from plugin_framework.protocol.answer import MAXIMUM_RETRY_AFTER
from plugin_framework.protocol.backoff import Backoff
from plugin_framework.settings import Settings

Numbers = npt.NDArray[np.float64]

HEARTBEAT_SECONDS: float = Settings.model_fields["heartbeat_seconds"].default
POLL_SECONDS: float = Settings.model_fields["poll_seconds"].default
SUBTASK_SECONDS = 3600.0
"""How long a subtask takes, on average: what ends in an outage has a report to deliver."""

OUTAGE, AFTER = 600, 600
"""Seconds of an outage, and of what is looked at after it."""

SEED = 7

STARTED_WITHIN = 30 * 86_400.0
"""Seconds: machines started at any time of the last month, so their clocks and grids differ."""

LATENCY = 0.05
"""Seconds that Datahub takes for a call."""

START_SPREAD = 10.0
"""Seconds within which services start again."""


@dataclass(frozen=True)
class Fleet:
    """Subtasks, and how many of them each supervisor has: one for ``run``, many for ``serve``."""

    subtasks: int = 1_000_000
    each: int = 1
    heartbeat: float = HEARTBEAT_SECONDS
    poll: float = POLL_SECONDS

    @property
    def supervisors(self) -> int:
        """How many there are."""
        return -(-self.subtasks // self.each)

    @property
    def poll_interval(self) -> float:
        """Seconds between two polls of a subtask; ``Polls`` stretches them where there are many."""
        return max(self.poll, self.each / CALLS_PER_SECOND) if self.poll else 0.0

    @property
    def mean(self) -> float:
        """Calls per second, once they run."""
        polls = self.subtasks / self.poll_interval if self.poll else 0.0
        return self.subtasks / self.heartbeat + polls


def periodic(
    fleet: Fleet, seconds: float, starts: Numbers, until: float, *, earliest: float
) -> Iterator[Numbers]:
    """The times of all first calls, then of all second ones, and so on: see ``heartbeat._Every``.

    ``starts`` are those of the subtasks; a supervisor's subtasks are neighbours in it.
    """
    rng = np.random.default_rng(SEED)
    clocks = np.repeat(rng.uniform(0, STARTED_WITHIN, fleet.supervisors), fleet.each)
    ahead = clocks[: len(starts)]
    grid = grid_of(seconds)
    times, wait = starts, seconds * rng.uniform(earliest, 1, len(starts))
    while times.min() < until:
        yield times
        times = np.round((times + ahead + wait) / grid) * grid - ahead
        wait = np.full(len(starts), seconds)


def per_second(calls: Iterator[Numbers], until: int) -> Numbers:
    """How many calls there are in each second."""
    total = np.zeros(until)
    for times in calls:
        within = times[(times >= 0) & (times < until)]
        total += np.bincount(within.astype(np.int64), minlength=until)
    return total


def load(
    fleet: Fleet, starts: Numbers, until: int, *, earliest: float = EARLIEST_SHARE
) -> tuple[Numbers, Numbers]:
    """Heartbeats and polls in each second."""

    def each(seconds: float) -> Numbers:
        calls = periodic(fleet, seconds, starts, until, earliest=earliest)
        return per_second(calls, until) if seconds else np.zeros(until)

    return each(fleet.heartbeat), each(fleet.poll_interval)


def at_any_time(fleet: Fleet) -> Numbers:
    """Starts one by one, the last of them when the simulation begins: the normal case."""
    rng = np.random.default_rng(SEED + 1)
    return rng.uniform(-4 * max(fleet.heartbeat, fleet.poll_interval), 0, fleet.subtasks)


def at_once(fleet: Fleet) -> Numbers:
    """Starts within the same second: the worst case."""
    return np.random.default_rng(SEED + 1).uniform(0, 1, fleet.subtasks)


@dataclass(frozen=True)
class Reports:
    """What became of the reports of subtasks that ended in an outage.

    ``sent`` counts calls in each second; ``calls`` those for each report, and ``late`` is how long
    after the recovery each was delivered, in seconds.
    """

    sent: Numbers
    calls: Numbers
    late: Numbers


Asks = Callable[[float], float | None]
"""The Retry-After, in seconds, of an answer at so many seconds before the recovery."""

ASKS: dict[str, Asks] = {
    "none": lambda _left: None,
    "120 seconds": lambda _left: 120.0,
    "the date of the recovery": lambda left: min(left, MAXIMUM_RETRY_AFTER),
}


@functools.cache
def reports(subtasks: int, retry_after: str) -> Reports:
    """Each report is sent until Datahub is back, at the times that ``Backoff`` itself says.

    The outage begins at second 0, and ``retry_after`` is one of ``ASKS``.
    """
    random.seed(SEED)
    asks = ASKS[retry_after]
    ended = np.random.default_rng(SEED).exponential(SUBTASK_SECONDS, subtasks)
    kept = ended[ended < OUTAGE]
    sent, calls, late = np.zeros(OUTAGE + AFTER), np.ones(len(kept)), np.zeros(len(kept))
    for number, ready in enumerate(kept):
        clock = [float(ready)]
        backoff = Backoff(math.inf, lambda: clock[0])  # noqa: B023 - called in this turn only
        while clock[0] < OUTAGE:
            sent[int(clock[0])] += 1
            calls[number] += 1
            error = ServerUnavailableError("down", retry_after=asks(OUTAGE - clock[0]))
            clock[0] += backoff(error)
        sent[int(clock[0])] += 1
        late[number] = clock[0] - OUTAGE
    return Reports(sent, calls, late)


def redelivered(fleet: Fleet, seconds: int) -> Numbers:
    """Calls in each second where all services start again at once, and deliver what they kept.

    Each has one thread for it: it asks whether Datahub is there, and then, for each report, first
    asks and then sends, one call after the other.
    """
    rng = np.random.default_rng(SEED)
    share = 1 - math.exp(-OUTAGE / SUBTASK_SECONDS)
    calls = 1 + 2 * rng.binomial(fleet.each, share, fleet.supervisors)
    begun = rng.uniform(0, START_SPREAD, fleet.supervisors)
    total = np.zeros(seconds)
    for number in range(int(calls.max())):
        at = (begun + number * LATENCY)[calls > number]
        total += np.bincount(at[at < seconds].astype(np.int64), minlength=seconds)
    return total


def flatness(calls: Numbers) -> float:
    """The busiest second beside the average one."""
    return float(calls.max() / calls.mean())


def steady_rows(subtasks: int = 1_000_000) -> Iterator[str]:
    """For several fleets: calls per second, and how flat they are."""
    yield f"{'subtasks':>9} {'poll':>5} {'beats/s':>9} {'polls/s':>9} {'peak/mean':>9}"
    for each, poll in (
        (1, POLL_SECONDS),
        (1, 30.0),
        (1, 0.0),
        (20, POLL_SECONDS),
        (200, POLL_SECONDS),
    ):
        fleet = Fleet(subtasks, each, poll=poll)
        beats, polls = load(fleet, at_any_time(fleet), 120)
        yield (
            f"{each:>9} {poll:>5.0f} {beats.mean():>9,.0f} {polls.mean():>9,.0f}"
            f" {flatness(beats + polls):>9.3f}"
        )


def start_rows(subtasks: int = 1_000_000) -> Iterator[str]:
    """All begin at once: how flat the second minute is, by how the second call is drawn."""
    fleet = Fleet(subtasks)
    for earliest in (EARLIEST_SHARE, 0.5, 1.0):
        beats, polls = (calls[60:] for calls in load(fleet, at_once(fleet), 120, earliest=earliest))
        yield (
            f"second call after {earliest:>4.0%} to 100% of an interval: peak/mean"
            f" {flatness(beats):>5.2f} of heartbeats, {flatness(beats + polls):.2f} of all"
        )


def outage_rows(subtasks: int = 1_000_000) -> Iterator[str]:
    """Ten minutes of outage: what is sent for reports, and how soon they are there."""
    yield f"{'Retry-After':>24} {'calls':>6} {'most':>5} {'late':>7} {'before/s':>8} {'after/s':>8}"
    for name in ASKS:
        found = reports(subtasks, name)
        before, after = found.sent[:OUTAGE].max(), found.sent[OUTAGE:].max()
        calls = f"{found.calls.mean():>6.1f} {found.calls.max():>5.0f}"
        yield f"{name:>24} {calls} {found.late.max():>5.1f} s {before:>8,.0f} {after:>8,.0f}"


def restart_rows(subtasks: int = 1_000_000) -> Iterator[str]:
    """All services start again within ten seconds of the recovery."""
    for each in (20, 200):
        calls = redelivered(Fleet(subtasks, each), 60)
        yield (
            f"{each:>4} subtasks each: at most {calls.max():>8,.0f} calls/s,"
            f" {np.flatnonzero(calls).max() + 1} s until all is delivered"
        )


def main() -> None:
    """Print the tables of docs/explanation/scaling.md, and draw its pictures."""
    for title, rows in (
        ("steady", steady_rows),
        ("all at once", start_rows),
        ("outage", outage_rows),
        ("restart", restart_rows),
    ):
        print(title)
        for row in rows():
            print(f"  {row}")
    from benchmarks import scaling_pictures  # noqa: PLC0415 - a model needs no pictures

    scaling_pictures.draw()


if __name__ == "__main__":
    main()
