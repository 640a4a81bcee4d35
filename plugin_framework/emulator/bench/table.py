"""A measurement as text: what is printed at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from plugin_framework.emulator.bench.figures import Figures, Spread, limit

ROWS: Final = {
    "create_task": "answer to create_task",
    "wait": "wait until status 1",
    "run": "run, from status 1 on",
    "result": "time to result",
    "heartbeat_late": "heartbeat late by",
}
"""The times that are measured, and what they are called. All but the last count from the moment
that the call create_task was due."""

_MINUTES: Final = 100.0
_SHORT: Final = 1.0


def lines(figures: Figures) -> Iterator[str]:
    """The table, line by line."""
    counts = figures.counts
    shown = ("offered", "accepted", "refused_busy", "completed", "failed")
    also = ("refused", "unanswered", "cancelled", "unfinished")
    names = [*shown, *(name for name in also if counts[name])]
    yield "   ".join(f"{name.replace('_', ' ')} {counts[name]}" for name in names)
    yield f"{'':<22}{'p50':>10}{'p90':>10}{'p99':>10}{'max':>10}"
    for name, title in ROWS.items():
        spread = Spread.of(figures.times[name])
        cells = _cells(spread) if spread else ["-"] * 4
        yield f"{title:<22}" + "".join(f"{cell:>10}" for cell in cells)
    yield (
        f"completed {figures.throughput:.2f} a second in {duration(figures.seconds)}, offered at"
        f" {figures.rate:g} a second; at most {figures.most_running} ran, and"
        f" {figures.most_waiting} waited"
    )
    yield limit(figures)


def _cells(spread: Spread) -> list[str]:
    return [duration(x) for x in (spread.p50, spread.p90, spread.p99, spread.longest)]


def duration(seconds: float) -> str:
    """Seconds as people read them: ``12 ms``, ``3.45 s``, ``240 s``."""
    if seconds < _SHORT:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.2f} s" if seconds < _MINUTES else f"{seconds:.0f} s"
