"""A subtask's timeline as one self-contained page with a picture. It loads and runs nothing."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

from plugin_framework.cli.timeline import describe, facts, moment, plain, status_name
from plugin_framework.protocol.models import TaskStatus

if TYPE_CHECKING:
    from plugin_framework.journal.records import Record
    from plugin_framework.journal.timeline import Event

WIDTH, LEFT, RIGHT = 1000, 110, 150
ROW, BAR, GAP = 22, 16, 14
MOST_ROWS = 8
"""Bars of one lane below each other; what is still in the way of another is drawn over it."""
LETTER = 7.0
"""About the width of a letter, in the picture's units."""
SHORTEST = 3.0
LONG_WAIT = 1.0
"""Seconds from which on a report's way to Datahub is shown as a wait."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --faint: #59636e;
  --line: #d1d9e0; --attempt: #d8dee4; --running: #b6d4fe; --paused: #ffe69c; --good: #a3d9b1;
  --bad: #f5b5b5; --move: #cfc2f2; --beat: #bfe3e0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --faint: #9aa4af;
  --line: #30363d; --attempt: #30363d; --running: #1f4a85; --paused: #6b5200; --good: #1c5a32;
  --bad: #7d2a2a; --move: #4a3b80; --beat: #1d5753; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 66rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1.5rem; }
dt, th, .axis text, .lane { color: var(--faint); fill: var(--faint); }
dd { margin: 0; }
figure { margin: 1.5rem 0; overflow-x: auto; }
svg { width: 100%; min-width: 44rem; font-size: 12px; fill: var(--ink); }
svg line { stroke: var(--line); }
rect { stroke: var(--paper); }
.attempt { fill: var(--attempt); } .running, .initial { fill: var(--running); }
.paused { fill: var(--paused); } .completed, .delivered { fill: var(--good); }
.failed, .refused, .missed { fill: var(--bad); } .cancelled { fill: var(--attempt); }
.download, .upload { fill: var(--move); } .heartbeats { fill: var(--beat); }
.waiting { fill: var(--paused); stroke: var(--ink); stroke-dasharray: 4 3; }
.none { fill: var(--faint); }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .2rem 1rem .2rem 0; border-bottom: 1px solid var(--line); }
td:nth-child(-n+2), th:nth-child(2) { white-space: nowrap; font-variant-numeric: tabular-nums; }
td:nth-child(2), th:nth-child(2) { text-align: right; }
"""


@dataclass(frozen=True, slots=True)
class _Bar:
    start: float
    end: float
    look: str
    label: str
    tip: str


def page(record: Record, events: Sequence[Event]) -> str:
    """The whole page; all that comes from outside is escaped."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    title = f"Subtask {escape(facts(record)['subtask'])}"
    known = "".join(f"<dt>{name}<dd>{escape(value)}" for name, value in facts(record).items())
    began = events[0].at if events else 0.0
    rows = "".join(
        f"<tr><td>{moment(event.at)}<td>{event.at - began:+.3f}<td>{escape(describe(event, began))}"
        for event in events
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy"'
        f" content=\"default-src 'none'; style-src 'sha256-{digest}'\">\n"
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n<h1>{title}</h1>\n<dl>{known}</dl>\n"
        f"<figure>{_picture(events)}"
        "<figcaption>Seconds from the first event. The longer a span, the more it is shortened."
        " Dashed: a report that is kept, and that Datahub has not got yet.</figcaption></figure>\n"
        f"<table><tr><th>time (UTC)<th>seconds<th>event{rows}</table>\n</html>\n"
    )


def _picture(events: Sequence[Event]) -> str:
    lanes = _lanes(events)
    bars = [bar for _, lane in lanes for bar in lane]
    times = sorted({time for bar in bars for time in (bar.start, bar.end)})
    place = _scale(times)
    drawn, top = [], 0.0
    for name, lane in lanes:
        rows = _rows(lane, place)
        drawn.append(f'<text class="lane" x="0" y="{top + BAR - 4:g}">{name}</text>')
        for number, row in enumerate(rows):
            free = [*(place(bar.start) for bar in row[1:]), float(WIDTH)]
            drawn += [
                _draw(bar, place, top + number * ROW, end)
                for bar, end in zip(row, free, strict=True)
            ]
        if not rows:
            drawn.append(f'<text class="none" x="{LEFT + 4}" y="{top + BAR - 4:g}">none</text>')
        top += max(len(rows), 1) * ROW + GAP
    return (
        f'<svg viewBox="0 0 {WIDTH} {top + 20:g}" role="img" aria-label="Timeline">'
        f"{_axis(times, place, top)}{''.join(drawn)}</svg>"
    )


def _lanes(events: Sequence[Event]) -> list[tuple[str, list[_Bar]]]:
    last = max([event.detail.get("last", event.at) for event in events], default=0.0)
    reports = [event for event in events if event.kind == "report"]
    beats = {"heartbeats": "heartbeats", "missed heartbeats": "missed"}
    return [
        ("attempts", list(_attempts(events))),
        ("status", list(_statuses(reports, last))),
        ("transfers", [_transfer(event) for event in events if event.kind == "transfer"]),
        (
            "heartbeats",
            [
                _Bar(
                    event.at,
                    event.detail["last"],
                    beats[event.kind],
                    *_twice(
                        f"{event.detail['count']}{' failed' if event.kind != 'heartbeats' else ''}"
                    ),
                )
                for event in events
                if event.kind in beats
            ],
        ),
        ("reports", list(_reports(events, last))),
    ]


def _twice(text: str) -> tuple[str, str]:
    return text, text


def _attempts(events: Sequence[Event]) -> Iterator[_Bar]:
    """Each from its start to its last sign of life: in between, nothing ran."""
    starts = [number for number, event in enumerate(events) if event.kind == "attempt"]
    for first, after in pairwise([*starts, len(events)]):
        signs = [event for event in events[first:after] if event.kind in _SIGNS_OF_LIFE]
        end = max(event.detail.get("last", event.at) for event in signs)
        ending = next((event.at for event in signs if event.kind == "report" and _ends(event)), end)
        name = f"attempt {events[first].detail['attempt']}"
        why = next((event.detail["name"] for event in signs if event.kind == "signal"), None)
        if any(event.kind == "interrupted" for event in events[first:after]):
            why = "killed"  # noted by the next run, before its attempt
        yield _Bar(events[first].at, ending, "attempt", *_twice(f"{name}, {why}" if why else name))


_SIGNS_OF_LIFE = frozenset(
    ("attempt", "report", "heartbeats", "missed heartbeats", "transfer", "stalled", "signal")
)
"""What only a running attempt does. A report may be delivered long after it has ended."""


def _ends(report: Event) -> bool:
    return TaskStatus(report.detail["status"]).is_final


def _statuses(reports: Sequence[Event], last: float) -> Iterator[_Bar]:
    ends = [event.at for event in reports[1:]] + [last]
    for event, end in zip(reports, ends, strict=True):
        name = status_name(event.detail["status"])
        yield _Bar(event.at, end, name, name, event.detail.get("error") or name)


def _transfer(event: Event) -> _Bar:
    name, look = event.detail["name"], event.detail["direction"]
    return _Bar(event.at - event.detail["seconds"], event.at, look, name, describe(event, 0))


def _reports(events: Sequence[Event], last: float) -> Iterator[_Bar]:
    """From when each was kept until Datahub had it or refused it: they are settled in order."""
    settled = iter([event for event in events if event.kind in {"delivered", "refused"}])
    for event in events:
        if event.kind == "report":
            fate = next(settled, None)
            name = status_name(event.detail["status"])
            if fate is None:
                yield _Bar(event.at, last, "waiting", *_twice(f"{name} undelivered"))
                continue
            kept, seconds = event.at, fate.at - event.at
            if seconds > LONG_WAIT:
                waited = f"waited {seconds:.0f} s"
                yield _Bar(kept, fate.at, "waiting", waited, f"{name} {waited}")
                kept = fate.at
            yield _Bar(kept, fate.at, fate.kind, *_twice(f"{name} {fate.kind}"))


def _scale(times: Sequence[float]) -> Callable[[float], float]:
    """Where a time is on the x axis; a day's wait must not hide the seconds of the run."""
    spans = [math.log1p(10 * (later - earlier)) for earlier, later in pairwise(times)]
    factor = (WIDTH - LEFT - RIGHT) / (sum(spans) or 1.0)
    places, at = {}, float(LEFT)
    for time, span in zip(times, [*spans, 0.0], strict=True):
        places[time] = at
        at += span * factor
    return places.__getitem__


def _rows(lane: Sequence[_Bar], place: Callable[[float], float]) -> list[list[_Bar]]:
    """The bars in as few rows as show each of them."""
    rows: list[list[_Bar]] = []
    for bar in sorted(lane, key=lambda bar: bar.start):
        free = (row for row in rows if place(row[-1].end) <= place(bar.start))
        row = next(free, None)
        if row is None and len(rows) < MOST_ROWS:
            rows.append(row := [])
        (rows[-1] if row is None else row).append(bar)
    return rows


def _draw(bar: _Bar, place: Callable[[float], float], top: float, free: float) -> str:
    """A bar with its label inside, or else after it where nothing is until ``free``."""
    left = place(bar.start)
    width = max(place(bar.end) - left, SHORTEST)
    label, room = bar.label, int((width - 8) / LETTER)
    x = left + 4
    if len(label) > room:
        if left + width + 4 + len(label) * LETTER <= free:
            x += width
        else:
            label = f"{label[: room - 1]}…" * (room > 3)  # noqa: PLR2004 - letters
    text = f'<text x="{x:.1f}" y="{top + BAR - 4:g}">{escape(plain(label))}</text>' if label else ""
    return (
        f'<g><title>{escape(plain(bar.tip))}</title><rect class="{escape(bar.look)}" x="{left:.1f}"'
        f' y="{top:g}" width="{width:.1f}" height="{BAR}" rx="3"/>{text}</g>'
    )


def _axis(times: Sequence[float], place: Callable[[float], float], bottom: float) -> str:
    """Lines, and under them the seconds: the first, the last, and what fits between them."""
    drawn: list[str] = []
    taken: dict[str, tuple[float, float]] = {}
    for time in (*times[:1], *reversed(times[1:])):
        seconds, x = time - times[0], place(time)
        label = f"+{seconds:.0f}" if seconds >= 100 else f"+{seconds:.3g}"  # noqa: PLR2004 - digits
        half = (len(label) + 1) * LETTER / 2
        middle = min(x, WIDTH - half)
        if label not in taken and all(
            middle + half <= left or right <= middle - half for left, right in taken.values()
        ):
            taken[label] = (middle - half, middle + half)
            drawn.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom:g}"/>'
                f'<text x="{middle:.1f}" y="{bottom + 14:g}" text-anchor="middle">{label}</text>'
            )
    return f'<g class="axis">{"".join(drawn)}</g>'
