"""One number for the progress of a task, out of its phases, that never falls."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Protocol

DOWNLOAD_SHARE = 10.0
"""Percent of the whole that fetching the input takes, where it is fetched before the work."""


class Progress:
    """Progress from 0 to 100 that never falls.

    A download before the work fills the first ten percent; the author's own progress fills the
    rest; uploads fill whatever is left when they begin.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._percent = 0.0
        self._work_from = 0.0
        self._uploads_from: float | None = None

    @property
    def percent(self) -> int:
        """What heartbeats carry: a whole number, rounded down."""
        return int(self._percent)

    def downloaded(self, share: float) -> int:
        """A ``share`` (0 to 1) of the input has been fetched."""
        if self._percent <= DOWNLOAD_SHARE:
            self._work_from = DOWNLOAD_SHARE
            return self._raise_to(DOWNLOAD_SHARE * share)
        return self.percent

    def worked(self, percent: float) -> int:
        """The author's work is done to ``percent``, which is held within 0 and 100."""
        held = min(max(percent, 0.0), 100.0)
        return self._raise_to(self._work_from + held * (100 - self._work_from) / 100)

    def uploaded(self, share: float) -> int:
        """A ``share`` (0 to 1) of what the finished work left has been stored."""
        if self._uploads_from is None:
            self._uploads_from = self._percent
        return self._raise_to(self._uploads_from + (100 - self._uploads_from) * share)

    def _raise_to(self, percent: float) -> int:
        with self._lock:
            self._percent = min(max(self._percent, percent), 100.0)
        return self.percent


class Highest(Protocol):
    """The highest percentage reported of a subtask, whichever attempt did so."""

    def raise_to(self, percent: int) -> int:
        """Keep ``percent`` if it is higher, and return what to report."""

    def forget(self) -> None:
        """The subtask has ended."""


class HighestPercent:
    """The highest percentage reported of a subtask, kept in a file for its next attempt."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._percent: int | None = None

    def raise_to(self, percent: int) -> int:
        """Keep ``percent`` if it is higher, and return what to report."""
        if self._percent is None:
            self._percent = self._read()
        if percent > self._percent:
            self._percent = percent
            with suppress(OSError):  # a full disk is not worth a heartbeat
                self._write(percent)
        return self._percent

    def forget(self) -> None:
        """Remove the file: the subtask has ended."""
        with suppress(OSError):
            self._file.unlink(missing_ok=True)

    def _write(self, percent: int) -> None:
        """In one step, and over what is there: a kill must not leave an empty file."""
        fd = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, f"{percent:3}".encode())
        finally:
            os.close(fd)

    def _read(self) -> int:
        try:
            return min(max(int(self._file.read_text()), 0), 100)
        except (OSError, ValueError):
            return 0
