"""A measurement as a picture: an SVG that stands alone, light or dark as its reader has it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Final

from plugin_framework.emulator.bench.figures import Figures, Flight, Spread, limit
from plugin_framework.emulator.bench.table import ROWS, duration

WIDTH, HEIGHT = 860, 640
LEFT, RIGHT = 64, 24
PLOT = WIDTH - LEFT - RIGHT
TALL = 190
FLIGHT_TOP, TIMES_TOP = 96, 366
MOST_POINTS: Final = 600
SHORTEST: Final = 1e-3
"""Seconds: what was quicker is drawn here, for a logarithm has no zero."""

STYLE: Final = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--faint:#59636e;--line:#d8dee4;
--wait:#f0b429;--run:#3b82c4;--a:#8250df;--b:#b35900;--c:#1f6fb5;--d:#1a7f37}
@media(prefers-color-scheme:dark){:root{--paper:#0d1117;--ink:#e6edf3;--faint:#9aa4af;
--line:#30363d;--wait:#c08a12;--run:#4c94d8;--a:#b794f6;--b:#f0a35e;--c:#6cb6ff;--d:#57c274}}
svg{background:var(--paper)}
text{font:13px system-ui,sans-serif;fill:var(--ink)}
.title{font-size:16px;font-weight:600}.head{font-weight:600}.faint{fill:var(--faint)}
.end{text-anchor:end}.mid{text-anchor:middle}
.grid{stroke:var(--line);stroke-width:1}
.wait{fill:var(--wait)}.run{fill:var(--run)}
.curve{fill:none;stroke-width:2.2;stroke-linejoin:round}
.a{stroke:var(--a)}.b{stroke:var(--b)}.c{stroke:var(--c)}.d{stroke:var(--d)}
.b{stroke-dasharray:7 4}.c{stroke-dasharray:2 3}
"""

CURVES: Final = {"create_task": "a", "wait": "b", "run": "c", "result": "d"}


def picture(figures: Figures, title: str) -> str:
    """The whole picture: tasks in flight over time, and how the times are spread."""
    body = "\n".join([*_head(figures, title), *_in_flight(figures), *_spreads(figures)])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        f' width="{WIDTH}" height="{HEIGHT}" role="img" aria-labelledby="title desc">\n'
        f'<title id="title">{escape(title)}</title>\n'
        f'<desc id="desc">{escape(limit(figures))}</desc>\n'
        f"<style>{STYLE}</style>\n{body}\n</svg>\n"
    )


def _head(figures: Figures, title: str) -> Iterator[str]:
    counts = figures.counts
    told = (
        f"{counts['offered']} offered at {figures.rate:g} a second, {counts['accepted']} accepted,"
        f" {counts['refused_busy']} refused busy, {counts['completed']} completed,"
        f" {counts['failed']} failed"
    )
    yield _text(LEFT, 28, title, "title")
    yield _text(LEFT, 50, told, "faint")


def _in_flight(figures: Figures) -> Iterator[str]:
    flights = _thinned(figures.flights)
    top = nice(max((f.waiting + f.running for f in flights), default=1))
    began = figures.tasks[0].due
    span = max(figures.seconds, 1e-3)
    yield _text(LEFT, FLIGHT_TOP - 14, "Tasks in flight", "head")
    yield from _legend(
        LEFT + 130,
        FLIGHT_TOP - 14,
        (
            ("wait", f"waiting for their start, at most {figures.most_waiting}"),
            ("run", f"running, at most {figures.most_running}"),
        ),
    )
    for step in range(5):
        value = top * step / 4
        yield from _row(FLIGHT_TOP + TALL * (1 - step / 4), f"{value:g}")
    for second in steps(span):
        at = LEFT + PLOT * second / span
        yield _text(at, FLIGHT_TOP + TALL + 18, f"{second:g} s", "faint mid")
    for name in ("wait", "run"):
        points = list(_steps(flights, began, span, top, stacked=name == "wait"))
        yield f'<path class="{name}" d="{_path(points)}"/>'
    yield _axis(FLIGHT_TOP)


def _steps(
    flights: Sequence[Flight], began: float, span: float, top: float, *, stacked: bool
) -> Iterator[tuple[float, float]]:
    """The outline of an area; what waits stands upon what runs."""
    floor = FLIGHT_TOP + TALL
    at, height = float(LEFT), float(floor)
    yield at, floor
    for flight in flights:
        at = LEFT + PLOT * min(max(flight.at - began, 0.0) / span, 1.0)
        yield at, height
        height = floor - TALL * (flight.running + flight.waiting * stacked) / top
        yield at, height
    yield (LEFT + PLOT if height < floor else at), height
    yield (LEFT + PLOT if height < floor else at), floor


def _spreads(figures: Figures) -> Iterator[str]:
    yield _text(LEFT, TIMES_TOP - 14, "Share of tasks that took no longer than", "head")
    times = {name: sorted(figures.times[name]) for name in CURVES}
    every = [max(x, SHORTEST) for series in times.values() for x in series]
    low = math.floor(math.log10(min(every, default=SHORTEST)))
    high = max(math.ceil(math.log10(max(every, default=1.0))), low + 1)
    for step in range(5):
        yield from _row(TIMES_TOP + TALL * (1 - step / 4), f"{25 * step} %")
    for power in range(low, high + 1):
        at = LEFT + PLOT * (power - low) / (high - low)
        yield f'<path class="grid" d="M{at:.1f} {TIMES_TOP}V{TIMES_TOP + TALL}"/>'
        yield _text(at, TIMES_TOP + TALL + 18, scale_label(power), "faint mid")
    for name, look in CURVES.items():
        if times[name]:
            points = _shares(times[name], low, high)
            yield f'<path class="curve {look}" d="{_path(points)}"/>'
    yield _axis(TIMES_TOP)
    yield from _key(times)


def _shares(ordered: Sequence[float], low: int, high: int) -> Iterator[tuple[float, float]]:
    kept = range(0, len(ordered), max(1, len(ordered) // MOST_POINTS))
    yield _place(ordered[0], low, high), TIMES_TOP + TALL
    for number in [*kept, len(ordered) - 1]:
        share = (number + 1) / len(ordered)
        yield _place(ordered[number], low, high), TIMES_TOP + TALL * (1 - share)


def _place(seconds: float, low: int, high: int) -> float:
    return LEFT + PLOT * (math.log10(max(seconds, SHORTEST)) - low) / (high - low)


def _key(times: dict[str, list[float]]) -> Iterator[str]:
    """Which curve is which, with its percentiles."""
    for number, (name, look) in enumerate(CURVES.items()):
        across = LEFT + PLOT / 4 * number
        low = TIMES_TOP + TALL + 42
        spread = Spread.of(times[name])
        said = f"p50 {duration(spread.p50)}, p99 {duration(spread.p99)}" if spread else "none"
        yield f'<path class="curve {look}" d="M{across:.1f} {low - 4}h26"/>'
        yield _text(across + 32, low, ROWS[name], "")
        yield _text(across + 32, low + 18, said, "faint")


def _thinned(flights: Sequence[Flight]) -> list[Flight]:
    """Not more points than can be seen; of those that stand for others, the highest."""
    size = max(1, math.ceil(len(flights) / MOST_POINTS))
    groups = [flights[first : first + size] for first in range(0, len(flights), size)]
    kept = [max(group, key=lambda f: f.waiting + f.running) for group in groups]
    return [*kept, *flights[-1:]]


def _legend(across: float, low: float, names: Iterable[tuple[str, str]]) -> Iterator[str]:
    for look, name in names:
        yield f'<rect class="{look}" x="{across:.1f}" y="{low - 11}" width="13" height="13"/>'
        yield _text(across + 19, low, name, "")
        across += 34 + 7 * len(name)


def _row(low: float, label: str) -> Iterator[str]:
    yield f'<path class="grid" d="M{LEFT} {low:.1f}h{PLOT}"/>'
    yield _text(LEFT - 8, low + 4, label, "faint end")


def _axis(top: float) -> str:
    return f'<path class="grid" d="M{LEFT} {top}v{TALL}h{PLOT}" fill="none"/>'


def _path(points: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _text(x: float, y: float, text: str, look: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{look}">{escape(text)}</text>'


def scale_label(power: int) -> str:
    """A power of ten in seconds."""
    return f"{10**power:g} s" if power >= 0 else f"{10 ** (power + 3):g} ms"


def nice(value: float) -> float:
    """The next number that a scale may end at, whose quarters are whole numbers to count by."""
    quarter = max(math.ceil(value / 4), 1)
    power = 10.0 ** max(len(str(quarter)) - 2, 0)
    round_ones = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100)
    return 4 * power * next(one for one in round_ones if one * power >= quarter)


def steps(span: float) -> Iterator[float]:
    """Round moments from 0 to the end of a span, four to eight of them."""
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(n * power for n in (1, 2, 5, 10) if span / (n * power) <= 8)  # noqa: PLR2004 - as told
    for number in range(int(span / step) + 1):
        yield round(number * step, 6)
