"""Draws a profile: a small panel for each column, side by side on one page."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator

from example_plugins.column_summary import MICROSECONDS, ColumnSummary, as_time, shortened
from example_plugins.csv_stream import NUMERIC, TEMPORAL, Kind

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

MOST_PANELS = 60
ACROSS = 4
BARS = 6
PANEL_INCHES = (3.3, 2.15)
HEADER_INCHES = 0.85

INK = "#1f2933"
FAINT = "#6b7785"
FILLS = {
    Kind.INTEGER: "#3b7ea1",
    Kind.NUMBER: "#3b7ea1",
    Kind.DATE: "#7a6bb0",
    Kind.DATETIME: "#7a6bb0",
    Kind.DATETIME_UTC: "#7a6bb0",
    Kind.BOOLEAN: "#5b9a68",
    Kind.TEXT: "#c98a3c",
}


def draw_profile(columns: list[ColumnSummary], path: Path, title: str, facts: str) -> None:
    """Draw the first ``MOST_PANELS`` columns into ``path``; its suffix is the format."""
    shown = columns[:MOST_PANELS]
    across = min(ACROSS, len(shown))
    down = math.ceil(len(shown) / across)
    width = max(across, 2) * PANEL_INCHES[0]
    height = down * PANEL_INCHES[1] + HEADER_INCHES
    engine = ConstrainedLayoutEngine(
        rect=(0.01, 0.005, 0.98, 0.995 - HEADER_INCHES / height), wspace=0.06, hspace=0.1
    )
    figure = Figure(figsize=(width, height), facecolor="white", layout=engine)
    if len(shown) < len(columns):
        facts += f" (the first {len(shown)} are shown)"
    _draw_header(figure, title, facts, height)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for panel, summary in zip(panels, shown, strict=False):
        _draw_panel(panel, summary)
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    figure.savefig(path, dpi=110)


def _draw_header(figure: Figure, title: str, facts: str, height: float) -> None:
    figure.text(
        0.015, 1 - 0.32 / height, _plain(title, 80), size=14, weight="bold", color=INK,
        va="center", parse_math=False,
    )  # fmt: skip
    figure.text(0.015, 1 - 0.6 / height, facts, size=9.5, color=FAINT, va="center")


def _draw_panel(axes: Axes, summary: ColumnSummary) -> None:
    axes.set_title(
        _plain(summary.name, 32), loc="left", size=10, weight="bold", color=INK, pad=17,
        parse_math=False,
    )  # fmt: skip
    axes.text(0, 1.04, _facts(summary), transform=axes.transAxes, size=7.5, color=FAINT)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#c5ccd3")
    axes.tick_params(length=0, labelsize=7.5, labelcolor=FAINT)
    if summary.distinct.count <= 1:
        _write(axes, _only_value(summary))
    elif summary.kind in NUMERIC | TEMPORAL:
        _draw_histogram(axes, summary)
    else:
        _draw_bars(axes, summary)


def _facts(summary: ColumnSummary) -> str:
    about = "" if summary.distinct.exact else "about "
    nulls = f", {summary.nulls:,} null{'s' * (summary.nulls > 1)}" if summary.nulls else ""
    return f"{summary.kind}, {about}{summary.distinct.count:,} distinct{nulls}"


def _only_value(summary: ColumnSummary) -> str:
    values, _ = summary.top.most_common(1)
    return f"always {_plain(values[0], 28)}" if values else "no values"


def _draw_histogram(axes: Axes, summary: ColumnSummary) -> None:
    edges, counts = summary.spread.histogram.edges, summary.spread.histogram.counts
    if not len(counts):
        _write(axes, "no finite values")
        return
    if summary.kind in TEMPORAL:
        times = [as_time(edge * MICROSECONDS, Kind.DATETIME) for edge in edges]
        edges = np.array(times, "datetime64[us]")
        locator = AutoDateLocator(minticks=3, maxticks=5)  # type: ignore[no-untyped-call]  # matplotlib's
        axes.xaxis.set_major_locator(locator)
        formatter = ConciseDateFormatter(locator, show_offset=False)  # type: ignore[no-untyped-call]  # too
        axes.xaxis.set_major_formatter(formatter)
    else:
        if summary.kind is Kind.INTEGER and edges[1] - edges[0] == 1:
            edges = edges - 0.5  # a bar stands on its number
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=summary.kind is Kind.INTEGER))
        axes.xaxis.set_major_formatter(FuncFormatter(_number))
    axes.stairs(counts, edges, fill=True, color=FILLS[summary.kind])
    axes.margins(x=0.01)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(_number))
    axes.grid(axis="y", color="#e4e8ec", linewidth=0.7)
    axes.set_axisbelow(True)


def _draw_bars(axes: Axes, summary: ColumnSummary) -> None:
    values, counts = summary.top.most_common(BARS)
    if counts[0] == 1:
        _write(axes, "every value is different")
        return
    places = range(len(values))
    axes.barh(places, counts, height=0.72, color=FILLS[summary.kind])
    axes.set_yticks(places, [_plain(value, 20) for value in values], parse_math=False)
    axes.set_ylim(BARS - 0.5, -0.5)
    axes.set_xlim(0, counts[0] * 1.18)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    for place, count in enumerate(counts):
        axes.text(count, place, f" {count:,}", va="center", size=7.5, color=FAINT)


def _write(axes: Axes, text: str) -> None:
    """Put words where there is nothing to draw."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines["bottom"].set_visible(False)
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", size=9.5, color=FAINT,
        style="italic", parse_math=False,
    )  # fmt: skip


def _number(value: float, _place: int | None = None) -> str:
    """A tick's label: 2013, 13,000 or 2.5M."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if size <= abs(value) < size * 1000:
            return f"{value / size:,.4g}{unit}"
    grouped = 1e4 <= abs(value) < 1e6  # noqa: PLR2004 - years look odd with a comma
    return f"{value:,.0f}" if grouped else f"{value:.4g}"


def _plain(text: str, length: int) -> str:
    """Text in one line of printable characters; spaces show where an empty one would not."""
    printable = "".join(mark if mark.isprintable() else " " for mark in text)
    return shortened(printable, length) or "(empty)"
