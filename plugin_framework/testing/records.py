"""What a plugin logs and prints during a run of a test."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the plugin's log, or one that it printed."""

    level: str
    message: str


class Records(logging.Handler):
    """What is logged of one subtask, while the ``with`` block lasts: ``lines``."""

    def __init__(self, subtask_id: str) -> None:
        super().__init__()
        self.lines: list[LogLine] = []
        self._subtask_id = subtask_id
        self._logger = logging.getLogger("datahub")

    def __enter__(self) -> None:
        _Level.raise_for(self._logger)
        self._logger.addHandler(self)

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        _Level.give_back(self._logger)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it, if it is of this subtask; logging's contract."""
        if getattr(record, "subtask_id", None) == self._subtask_id:
            self.lines.append(LogLine(record.levelname, record.getMessage()))


class _Level:
    """What plugins log at INFO is kept while runs go on, unless a test has chosen a level."""

    _lock = threading.Lock()
    _runs = 0
    _raised = False

    @classmethod
    def raise_for(cls, logger: logging.Logger) -> None:
        with cls._lock:
            cls._runs += 1
            if logger.level == logging.NOTSET:
                logger.setLevel(logging.INFO)
                cls._raised = True

    @classmethod
    def give_back(cls, logger: logging.Logger) -> None:
        with cls._lock:
            cls._runs -= 1
            if cls._raised and not cls._runs:
                logger.setLevel(logging.NOTSET)
                cls._raised = False
