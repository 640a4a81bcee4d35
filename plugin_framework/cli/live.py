"""The live line: status, progress bar, transfer rate. An extension that observes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from plugin_framework.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from rich.console import Console

    from plugin_framework.protocol.models import TaskStatus

RATE_WINDOW = 0.5
"""Seconds over which a transfer's rate is taken."""


class LiveLine:
    """Draws one task on a terminal."""

    def __init__(self, console: Console, name: str) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            TextColumn("{task.fields[status]}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[transfer]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._progress.add_task(name, total=100, status="starting", transfer="")
        self._sent: dict[tuple[str, str], tuple[float, int]] = {}

    def start(self) -> None:
        """Begin drawing."""
        self._progress.start()

    def stop(self) -> None:
        """Leave the line as it is and stop drawing."""
        self._progress.stop()

    @hookimpl
    def datahub_status_changed(self, new: TaskStatus) -> None:
        """Show the status."""
        self._progress.update(self._task, status=new.name.lower(), transfer="")
        if new.name == "COMPLETED":
            self._progress.update(self._task, completed=100)

    @hookimpl
    def datahub_progress(self, percent: int) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=percent)

    @hookimpl
    def datahub_transfer(self, direction: str, name: str, sent: int, total: int) -> None:
        """Show how fast a file moves."""
        now = time.monotonic()
        since, before = self._sent.setdefault((direction, name), (now, 0))
        if now - since >= RATE_WINDOW or sent == total:
            rate = (sent - before) / max(now - since, 0.001) / 2**20
            arrow = "↓" if direction == "download" else "↑"
            text = f"{arrow} {name} {sent / 2**20:.1f} MiB, {rate:.0f} MiB/s"
            self._progress.update(self._task, transfer=text)
            self._sent[direction, name] = (now, sent)
