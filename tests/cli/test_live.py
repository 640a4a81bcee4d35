from __future__ import annotations

import io
import re

from rich.console import Console

from plugin_framework import TaskStatus
from plugin_framework.cli.live import LiveLine


def test_status_progress_and_rate() -> None:
    now = 0.0
    console = Console(file=io.StringIO(), width=120)
    line = LiveLine(console, "a [/plugin]", clock=lambda: now)
    mib = 2**20
    line.datahub_status_changed(new=TaskStatus.RUNNING)
    line.datahub_progress(percent=100)
    assert not line._progress.finished
    line.datahub_progress(percent=40)
    line.datahub_transfer(direction="download", name="[/in]", sent=0, total=100 * mib)
    assert drawn(line) == "a [/plugin] running 40%"
    now = 1.0
    line.datahub_transfer(direction="download", name="[/in]", sent=64 * mib, total=100 * mib)
    assert drawn(line) == "a [/plugin] running 40% ↓ [/in] 64.0 MiB, 64 MiB/s"
    now = 1.1
    line.datahub_transfer(direction="download", name="[/in]", sent=90 * mib, total=100 * mib)
    assert drawn(line) == "a [/plugin] running 40% ↓ [/in] 64.0 MiB, 64 MiB/s"
    now = 3.0
    line.datahub_transfer(direction="download", name="[/in]", sent=100 * mib, total=100 * mib)
    assert drawn(line) == "a [/plugin] running 40% ↓ [/in] 100.0 MiB, 33 MiB/s"
    line.datahub_transfer(direction="upload", name="empty", sent=0, total=0)
    line.datahub_status_changed(new=TaskStatus.COMPLETED)
    assert drawn(line) == "a [/plugin] completed 100% ↑ empty 0.0 MiB"


def drawn(line: LiveLine) -> str:
    """What a terminal would show, less the spinner, the bar and the clock."""
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(line._progress.get_renderable())
    text = console.file.getvalue() if isinstance(console.file, io.StringIO) else ""
    return " ".join(re.sub(r"[━╺╸\u2800-\u28ff]|\d+:\d\d:\d\d", " ", text).split())
