"""What the plugin's processes print and log, in the supervisor's log."""

from __future__ import annotations

import logging
import os
import threading
from typing import IO, Any

from plugin_framework.isolation.session import LINE_LIMIT


def relog(subtask_id: str, record: dict[str, Any]) -> None:
    """Log a record that a task's process has handed over."""
    # A lone surrogate would break the handlers that write it.
    message = str(record["message"]).encode(errors="replace").decode()
    logger = logging.getLogger(str(record["name"]))
    logger.log(int(record["level"]), "%s", message, extra={"subtask_id": subtask_id})


def pump_lines(fd: int, name: str, subtask_id: str | None = None) -> threading.Thread:
    """Log what is printed into a pipe, line by line, until its last writer is gone."""
    thread = threading.Thread(
        target=_pump,
        args=(os.fdopen(fd, "rb"), logging.getLogger(name), subtask_id),
        daemon=True,
        name="output",
    )
    thread.start()
    return thread


def _pump(pipe: IO[bytes], logger: logging.Logger, subtask_id: str | None) -> None:
    with pipe:
        while line := pipe.readline(LINE_LIMIT):
            text = line.decode(errors="replace").rstrip()
            if text:
                logger.info("%s", text, extra={"subtask_id": subtask_id})
