"""Draws the sequence diagrams of the pages: SVG from the text files in ``docs/diagrams``.

A line of such a file is one of these; what comes later is drawn lower:

    title: what the diagram shows
    NAME as what stands above its line
    A -> B: a message
    A --> B: an answer, drawn dashed
    A: what A does by itself
    note: something about all of them
    loop: what is repeated, or until when
    end
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from itertools import accumulate

LETTER = 7.2  # pixels: an average one, at the size of the text
ROW = 34
LAST_ROW = 16  # that in which a loop ends
HEAD = 64
EDGE = 24
NARROWEST = 130

HALO = ' stroke="#ffffff" stroke-width="4" paint-order="stroke"'

_PARTY = re.compile(r"(\w+) as (.+)")
_MESSAGE = re.compile(r"(\w+) (--?>) (\w+): (.+)")
_WORD = re.compile(r"(title|note|loop): (.+)")
_DEED = re.compile(r"(\w+): (.+)")

FRAME = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" \
height="{height}" font-family="system-ui, sans-serif" font-size="13" fill="#1c2733" role="img" \
aria-labelledby="title desc">"""

ARROWS = """\
  <defs>
    <marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" \
orient="auto">
      <path d="M0 0 L10 5 L0 10 z" fill="#44546a"/>
    </marker>
  </defs>"""


@dataclass(frozen=True, slots=True)
class Step:
    """A row: ``source`` and ``target`` are the same where it is no message."""

    kind: str
    text: str
    source: int = 0
    target: int = 0


@dataclass(slots=True)
class Diagram:
    """What a file says."""

    title: str = ""
    parties: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    def index(self, name: str) -> int:
        """Which line a name is; ValueError if it is none."""
        if name not in self.parties:
            raise ValueError(f"nobody is called {name!r}: expected one of {list(self.parties)}")
        return list(self.parties).index(name)


def svg(text: str) -> str:
    """The drawing; ValueError where the text is no diagram."""
    diagram = read(text)
    places = _places(diagram)
    width = places[-1] + max(NARROWEST, _reach(diagram, len(places) - 1) * 2) / 2 + EDGE
    tops = _tops(diagram)
    height = tops[-1] + EDGE
    return "\n".join(
        [
            FRAME.format(width=round(width), height=height),
            f'  <title id="title">{escape(diagram.title)}</title>',
            f'  <desc id="desc">{escape(" ".join(told(diagram)))}</desc>',
            ARROWS,
            f'  <rect width="{width:.0f}" height="{height}" rx="8" fill="#ffffff"/>',
            *_loops(diagram, tops, width),
            *_lines(diagram, places, height),
            *_steps(diagram, tops, places, width),
            "</svg>\n",
        ]
    )


def read(text: str) -> Diagram:
    """The diagram that a file describes; ValueError names the line that is none."""
    diagram = Diagram()
    depth = 0
    for line in filter(None, map(str.strip, text.splitlines())):
        if match := _PARTY.fullmatch(line):
            diagram.parties[match[1]] = match[2]
        elif match := _MESSAGE.fullmatch(line):
            ends = diagram.index(match[1]), diagram.index(match[3])
            diagram.steps.append(Step("answer" if "--" in match[2] else "call", match[4], *ends))
        elif match := _WORD.fullmatch(line):
            if match[1] == "title":
                diagram.title = match[2]
                continue
            diagram.steps.append(Step(match[1], match[2]))
            depth += match[1] == "loop"
        elif match := _DEED.fullmatch(line):
            diagram.steps.append(Step("deed", match[2], *[diagram.index(match[1])] * 2))
        elif line == "end" and depth:
            diagram.steps.append(Step("end", ""))
            depth -= 1
        else:
            raise ValueError(f"not understood: {line!r}")
    if depth or not diagram.title or not diagram.steps:
        raise ValueError("a diagram has a title and steps, and an end for each loop")
    return diagram


def told(diagram: Diagram) -> Iterator[str]:
    """The steps in words, for those who do not see the drawing."""
    names = list(diagram.parties.values())
    for step in diagram.steps:
        if step.kind in {"call", "answer"}:
            yield f"{names[step.source]} to {names[step.target]}: {step.text}."
        elif step.kind == "deed":
            yield f"{names[step.source]}: {step.text}."
        elif step.kind == "note":
            yield f"Note: {step.text}."
        else:
            yield f"Loop, {step.text}:" if step.kind == "loop" else "End of the loop."


def _tops(diagram: Diagram) -> list[int]:
    """Where each row begins, and where the last one ends."""
    heights = (LAST_ROW if step.kind == "end" else ROW for step in diagram.steps)
    return list(accumulate(heights, initial=HEAD))


def _wide(text: str) -> float:
    return len(text) * LETTER + 28


def _reach(diagram: Diagram, party: int) -> float:
    """How far what a line does by itself stands out to each side."""
    deeds = [s.text for s in diagram.steps if s.kind == "deed" and s.source == party]
    return max([_wide(text) / 2 for text in [*deeds, list(diagram.parties.values())[party]]])


def _head(diagram: Diagram, party: int) -> float:
    return _wide(list(diagram.parties.values())[party]) / 2


def _places(diagram: Diagram) -> list[float]:
    """Where each line is, from the left: as far apart as what stands between them needs."""
    count = len(diagram.parties)
    places = [EDGE + max(NARROWEST / 2, _reach(diagram, 0))]
    for right in range(1, count):
        least = places[-1] + max(NARROWEST, sum(_head(diagram, right - one) for one in (0, 1)) + 12)
        for step in diagram.steps:
            left, end = sorted((step.source, step.target))
            if end == right and left != right and step.kind in {"call", "answer"}:
                least = max(least, places[left] + _wide(step.text))
        places.append(least)
    return places


def _lines(diagram: Diagram, places: list[float], height: int) -> Iterator[str]:
    for name, x in zip(diagram.parties.values(), places, strict=True):
        wide = max(96.0, _wide(name))
        yield f'  <path d="M{x:.0f} 46 V{height - 12}" stroke="#b9c3cf" stroke-dasharray="3 4"/>'
        yield (
            f'  <rect x="{x - wide / 2:.0f}" y="14" width="{wide:.0f}" height="32" rx="6"'
            ' fill="#eef4fb" stroke="#2f6fb3"/>'
        )
        yield _text(x, 35, name, ' font-weight="600"')


def _loops(diagram: Diagram, tops: list[int], width: float) -> Iterator[str]:
    open_at: list[int] = []
    for row, step in enumerate(diagram.steps):
        if step.kind == "loop":
            open_at.append(row)
        elif step.kind == "end":
            first, inset = open_at.pop(), 8 + 6 * len(open_at)
            top, bottom = tops[first] + 2, tops[row + 1] - 4
            yield (
                f'  <rect x="{inset}" y="{top}" width="{width - 2 * inset:.0f}"'
                f' height="{bottom - top}" rx="6" fill="#f6f8f4" stroke="#b9c6ae"/>'
            )


def _steps(diagram: Diagram, tops: list[int], places: list[float], width: float) -> Iterator[str]:
    for top, step in zip(tops, diagram.steps, strict=False):
        y = top + 20
        if step.kind in {"call", "answer"}:
            yield from _arrow(step, places[step.source], places[step.target], y)
        elif step.kind == "deed":
            yield from _box(places[step.source], y, step.text, "#ffffff", "#8a97a8")
        elif step.kind == "note":
            yield from _box(width / 2, y, step.text, "#fff8e1", "#b98a1d")
        elif step.kind == "loop":
            yield f'  <text x="20" y="{y + 2}" font-style="italic">{escape(step.text)}</text>'


def _arrow(step: Step, start: float, end: float, y: int) -> Iterator[str]:
    dashes = ' stroke-dasharray="5 4"' if step.kind == "answer" else ""
    yield (
        f'  <path d="M{start:.0f} {y} H{end:.0f}" stroke="#44546a" stroke-width="1.5"'
        f'{dashes} marker-end="url(#arrow)"/>'
    )
    yield _text((start + end) / 2, y - 6, step.text, HALO)


def _box(x: float, y: int, text: str, fill: str, stroke: str) -> Iterator[str]:
    wide = _wide(text) - 8
    yield (
        f'  <rect x="{x - wide / 2:.0f}" y="{y - 14}" width="{wide:.0f}" height="24" rx="5"'
        f' fill="{fill}" stroke="{stroke}"/>'
    )
    yield _text(x, y + 2, text)


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'  <text x="{x:.0f}" y="{y:.0f}" text-anchor="middle"{more}>{escape(text)}</text>'
