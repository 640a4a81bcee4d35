"""What happens to a subtask, told to its log, its timeline and its observers."""

from __future__ import annotations

import logging
import time
from typing import Any

from plugin_framework.journal.journal import Report
from plugin_framework.lifecycle.supervisor import Notes, Observer
from plugin_framework.protocol.models import TaskStatus

log: logging.Logger = logging.getLogger("datahub.runner")


class Chronicle:
    """Tells of one subtask. Nothing here fails, or waits for a disk."""

    def __init__(self, subtask_id: str, timeline: Notes, observer: Observer) -> None:
        self._subtask_id = subtask_id
        self._timeline = timeline
        self._observer = observer
        self._transfers: dict[tuple[str, str], float] = {}
        self._transferred_whole: set[tuple[str, str, int]] = set()

    def note(self, kind: str, **detail: Any) -> None:
        """Note an event in the timeline."""
        self._timeline.note(self._subtask_id, kind, **detail)

    def tell(self, hook: str, **facts: Any) -> None:
        """Tell the observers."""
        self._observer.tell(hook, subtask_id=self._subtask_id, **facts)

    def stalled(self, seconds: float) -> None:
        """Nothing has moved for so long."""
        log.warning("subtask %s: no progress for %.0f s", self._subtask_id, seconds)
        self.note("stalled", seconds=round(seconds, 3))
        self.tell("datahub_stalled", seconds=seconds)

    def moved(self, seconds: float) -> None:
        """It moves again, after so long."""
        log.warning("subtask %s: progress again, after %.0f s", self._subtask_id, seconds)
        self.note("moved", seconds=round(seconds, 3))

    def status_changed(self, old: TaskStatus, new: TaskStatus) -> None:
        """A status is to be reported."""
        log.info("subtask %s: %s", self._subtask_id, new.name.lower())
        self.tell("datahub_status_changed", old=old, new=new)

    def delivered(self, report: Report) -> None:
        """Datahub has acknowledged a report."""
        kind = "result" if report.path.endswith("/result") else "status"
        self.tell("datahub_report_delivered", kind=kind, body=report.body)

    def transferred(self, direction: str, name: str, sent: int, total: int) -> None:
        """So many bytes of a file are through."""
        began = self._transfers.setdefault((direction, name), time.monotonic())
        done = (direction, name, total)
        if sent == total and done not in self._transferred_whole:  # it may be told twice
            self._transferred_whole.add(done)
            seconds = round(time.monotonic() - began, 3)
            self.note("transfer", direction=direction, name=name, size=total, seconds=seconds)
        self.tell("datahub_transfer", direction=direction, name=name, sent=sent, total=total)
