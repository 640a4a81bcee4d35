"""Tasks as a measurement leaves them, made up."""

from __future__ import annotations

from plugin_framework.emulator.bench.figures import Figures
from plugin_framework.emulator.bench.ledger import Answer, Task
from plugin_framework.protocol.models import TaskStatus

BEGAN = 1_800_000_000.0


def task(due: float, *, wait: float, run: float, status: TaskStatus = TaskStatus.COMPLETED) -> Task:
    """One that was accepted at once; times in seconds, ``due`` from the beginning on."""
    at = BEGAN + due
    return Task(f"t-{due}", at, at + 0.01, "accepted", "", at + wait, at + wait + run, status)


def refused(due: float, answer: Answer = "busy") -> Task:
    """One that was not accepted."""
    return Task(f"r-{due}", BEGAN + due, BEGAN + due + 0.01, answer, f"HTTP 503: {answer}")


def slots(count: int, *, rate: float, places: int, run: float, start: float = 0.1) -> list[Task]:
    """What a service with so many places makes of a load."""
    free = [0.0] * places
    tasks = []
    for number in range(count):
        due = number / rate
        place = min(range(places), key=free.__getitem__)
        begun = max(free[place], due) + start
        free[place] = begun + run
        tasks.append(task(due, wait=begun - due, run=run))
    return tasks


def figures(tasks: list[Task], *, rate: float = 1.0, busy: float | None = 0.2) -> Figures:
    """Of these tasks, on two cores."""
    return Figures(tasks, rate, 30.0, 2, busy)
