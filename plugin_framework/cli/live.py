"""The live line: status, progress bar, transfer rate. An extension that observes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from plugin_framework.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from rich.console import Console

    from plugin_framework.protocol.models import TaskStatus

RATE_WINDOW = 0.5
"""Seconds over which a transfer's rate is taken."""
SHORTEST = 0.01


class LiveLine:
    """Draws one task on a terminal."""

    def __init__(
        self, console: Console, name: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._progress = Progress(
            SpinnerColumn(),
            # Names are data: [brackets] in them are no markup.
            TextColumn("{task.description}", style="bold", markup=False),
            TextColumn("{task.fields[status]}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[transfer]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task(name, total=100, status="starting", transfer="")
        self._sent: dict[tuple[str, str], tuple[float, float, int]] = {}

    def start(self) -> None:
        """Begin drawing."""
        self._progress.start()

    def stop(self) -> None:
        """Leave the line as it is and stop drawing."""
        self._progress.stop()

    @hookimpl
    def datahub_status_changed(self, new: TaskStatus) -> None:
        """Show the status."""
        self._progress.update(self._task, status=new.name.lower())
        if new.name == "COMPLETED":
            self._progress.update(self._task, completed=100)

    @hookimpl
    def datahub_progress(self, percent: int) -> None:
        """Move the bar."""
        # At 100 rich would stop the clock, and the task is not over yet.
        self._progress.update(self._task, completed=min(percent, 99.99))

    @hookimpl
    def datahub_transfer(self, direction: str, name: str, sent: int, total: int) -> None:
        """Show how fast a file moves."""
        now = self._clock()
        began, since, before = self._sent.setdefault((direction, name), (now, now, 0))
        if sent == total:
            since, before = began, 0  # at the end, the rate of it all
        elapsed = now - since
        if elapsed < RATE_WINDOW and sent < total:
            return
        arrow = "↓" if direction == "download" else "↑"
        # Of what took no time there is no rate to tell.
        rate = f", {(sent - before) / elapsed / 2**20:.0f} MiB/s" if elapsed > SHORTEST else ""
        self._progress.update(self._task, transfer=f"{arrow} {name} {sent / 2**20:.1f} MiB{rate}")
        self._sent[direction, name] = (began, now, sent)
        if sent == total:
            del self._sent[direction, name]
