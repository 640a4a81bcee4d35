"""Draws docs/images/scaling-*.svg from the simulation, the same bytes each time."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.simulation import (
    AFTER,
    ASKS,
    OUTAGE,
    Fleet,
    Numbers,
    at_any_time,
    at_once,
    load,
    reports,
)
from plugin_framework.lifecycle.heartbeat import EARLIEST_SHARE

IMAGES = Path(__file__).parents[1] / "docs" / "images"
BEFORE = 300
"""Seconds that are shown before an outage."""

RETURN = 200
"""Seconds that are shown of the return after it."""

STYLE: Any = {
    "svg.hashsalt": "scaling",  # ids that do not differ from one drawing to the next
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "figure.figsize": (8, 3.6),
    "figure.facecolor": "white",
    "path.simplify": True,
}


def draw(folder: Path = IMAGES, subtasks: int = 1_000_000) -> None:
    """Draw all of them."""
    with mpl.rc_context(STYLE):
        _start(folder, subtasks)
        _outage(folder, subtasks)
        _return(folder, subtasks)


def _start(folder: Path, subtasks: int) -> None:
    fleet = Fleet(subtasks)
    figure, axes = plt.subplots()
    for earliest, label, colour in (
        (0.5, "second beat after 50% to 100% of an interval", "#c2410c"),
        (EARLIEST_SHARE, "as it is: after 5% to 100%", "#1d4ed8"),
    ):
        beats, _ = load(fleet, at_once(fleet), 121, earliest=earliest)
        axes.step(np.arange(1, 121), beats[1:] / 1000, where="post", label=label, color=colour)
    axes.axhline(subtasks / fleet.heartbeat / 1000, color="black", linestyle=":", label="mean")
    axes.set_ylim(0, 3.2 * subtasks / fleet.heartbeat / 1000)
    _finish(axes, "seconds after all have started", "thousand heartbeats per second")
    _save(figure, folder / "scaling-start.svg", "Heartbeats a second after a common start")


def _outage(folder: Path, subtasks: int) -> None:
    fleet = Fleet(subtasks, each=200)
    until = BEFORE + OUTAGE + AFTER
    beats, polls = load(fleet, at_any_time(fleet), until)
    sent = np.concatenate([np.zeros(BEFORE), reports(subtasks, "none").sent])
    figure, axes = plt.subplots()
    parts = [_binned(calls) / 1000 for calls in (beats, polls, sent)]
    minutes = (np.arange(len(parts[0])) * BIN - BEFORE) / 60
    labels = ["heartbeats", "polls", "reports kept in the outage"]
    axes.stackplot(minutes, *parts, labels=labels, colors=["#1d4ed8", "#60a5fa", "#c2410c"])
    axes.axvspan(0, OUTAGE / 60, color="black", alpha=0.07, linewidth=0)
    axes.set_ylim(0, 1.4 * float(np.sum(parts, axis=0).max()))
    _finish(axes, "minutes after Datahub went away (grey: the outage)", "thousand calls per second")
    _save(figure, folder / "scaling-outage.svg", "Calls a second around an outage")


def _return(folder: Path, subtasks: int) -> None:
    figure, axes = plt.subplots()
    for name, colour in zip(ASKS, ("#1d4ed8", "#15803d", "#c2410c"), strict=True):
        seconds = np.arange(-60, RETURN)
        calls = reports(subtasks, name).sent[OUTAGE - 60 : OUTAGE + RETURN] / 1000
        axes.step(seconds, calls, where="post", label=f"Retry-After: {name}", color=colour)
    axes.axvspan(-60, 0, color="black", alpha=0.07, linewidth=0)
    _finish(axes, "seconds after Datahub came back", "thousand calls for reports per second")
    _save(figure, folder / "scaling-retry-after.svg", "Reports a second once Datahub is back")


BIN = 5
"""Seconds that are one point of the picture of an outage."""


def _binned(calls: Numbers) -> Numbers:
    binned: Numbers = calls.reshape(-1, BIN).mean(axis=1)
    return binned


def _finish(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.margins(x=0)
    axes.legend(loc="upper right", frameon=False)


def _save(figure: Figure, path: Path, title: str) -> None:
    drawn = StringIO()
    metadata = {"Date": None, "Creator": None, "Title": title}
    figure.savefig(drawn, format="svg", bbox_inches="tight", metadata=metadata)
    plt.close(figure)
    path.write_text(drawn.getvalue().replace("<svg ", '<svg role="img" ', 1), encoding="utf-8")
