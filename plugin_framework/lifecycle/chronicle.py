"""What happens to a subtask, told to its log, its timeline and its observers."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from plugin_framework.errors import DatahubError, RetryableError
from plugin_framework.journal.journal import Report
from plugin_framework.lifecycle.supervisor import Notes, Observer
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.redaction import redacted
from plugin_framework.transfer.parallel import Tally

log: logging.Logger = logging.getLogger("datahub.runner")


class Chronicle:
    """Tells of one subtask. Nothing here fails, or waits for a disk.

    ``memory`` is the most that the plugin's process had, in bytes.
    """

    def __init__(self, subtask_id: str, timeline: Notes, observer: Observer) -> None:
        self._subtask_id = subtask_id
        self._timeline = timeline
        self._observer = observer
        self._transfers: dict[tuple[str, str], float] = {}
        self._transferred_whole: set[tuple[str, str, int]] = set()
        self._began: float | None = None
        self.memory: int = 0

    def note(self, kind: str, **detail: Any) -> None:
        """Note an event in the timeline."""
        self._timeline.note(self._subtask_id, kind, **detail)

    def tell(self, hook: str, **facts: Any) -> None:
        """Tell the observers."""
        self._observer.tell(hook, subtask_id=self._subtask_id, **facts)

    def begun(self, plugin: str, attempt: int) -> dict[str, str]:
        """An attempt begins; returns the trace that it is part of, where it is part of one."""
        self._began = time.monotonic()
        facts = {"subtask_id": self._subtask_id, "plugin": plugin, "attempt": attempt}
        answers = self._observer.ask("datahub_attempt_begun", **facts)
        return {name: value for each in answers for name, value in each.items()}

    def over(self, status: TaskStatus, error: str | None) -> None:
        """The attempt has ended, if one had begun."""
        if self._began is not None:
            self.tell(
                "datahub_attempt_ended",
                status=status,
                error=None if error is None else str(getattr(error, "code", "error")),
                seconds=time.monotonic() - self._began,
                memory=self.memory,
            )

    def stalled(self, seconds: float) -> None:
        """Nothing has moved for so long."""
        log.warning("subtask %s: no progress for %.0f s", self._subtask_id, seconds)
        self.note("stalled", seconds=round(seconds, 3))
        self.tell("datahub_stalled", seconds=seconds)

    def moved(self, seconds: float) -> None:
        """It moves again, after so long."""
        log.warning("subtask %s: progress again, after %.0f s", self._subtask_id, seconds)
        self.note("moved", seconds=round(seconds, 3))

    def heartbeat(self, late: float, error: DatahubError | None) -> None:
        """One was sent, so many seconds late."""
        kind = "missed heartbeats" if error else "heartbeats"
        self._timeline.count(self._subtask_id, kind)
        self.tell("datahub_heartbeat", late=late, error=name_of(error))

    def status_changed(self, old: TaskStatus, new: TaskStatus) -> None:
        """A status is to be reported."""
        log.info("subtask %s: %s", self._subtask_id, new.name.lower())
        self.tell("datahub_status_changed", old=old, new=new)

    def tried(self, report: Report, at: float, error: DatahubError | None) -> None:
        """A report was sent, once."""
        self.tell(
            "datahub_report_tried",
            kind=_kind_of(report),
            status=TaskStatus(report.status),
            at=at,
            error=name_of(error),
            again=isinstance(error, RetryableError),
        )

    def delivered(self, report: Report) -> None:
        """Datahub has acknowledged a report."""
        self.tell("datahub_report_delivered", kind=_kind_of(report), body=report.body)

    @contextmanager
    def transfer(self, direction: str, name: str) -> Iterator[Tally]:
        """Around a transfer, which is to count its parts."""
        file = {"direction": direction, "name": redacted(name)}
        self.tell("datahub_transfer_begun", **file, at=time.time())
        tally, error = Tally(), None
        try:
            yield tally
        except BaseException as raised:
            error = name_of(raised)
            raise
        finally:
            count = {"parts": tally.parts, "retries": tally.retries}
            self.tell("datahub_transfer_ended", **file, at=time.time(), **count, error=error)

    def transferred(self, direction: str, name: str, sent: int, total: int) -> None:
        """So many bytes of a file are through."""
        began = self._transfers.setdefault((direction, name), time.monotonic())
        done = (direction, name, total)
        name = redacted(name)  # Datahub may have made it of a URL
        if sent == total and done not in self._transferred_whole:  # it may be told twice
            self._transferred_whole.add(done)
            seconds = round(time.monotonic() - began, 3)
            self.note("transfer", direction=direction, name=name, size=total, seconds=seconds)
        self.tell("datahub_transfer", direction=direction, name=name, sent=sent, total=total)


def name_of(error: BaseException | None) -> str | None:
    """The code of an error, else its class: never its message, which may hold anything."""
    if error is None:
        return None
    return str(error.code) if isinstance(error, DatahubError) else type(error).__name__


def _kind_of(report: Report) -> str:
    return "result" if report.path.endswith("/result") else "status"
