"""What the plugin's processes print and log, in the supervisor's log."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterator
from typing import IO, Any

from plugin_framework.isolation.session import LINE_LIMIT

NAME_LIMIT = 256
"""Characters of a logger's name that are kept."""

_SPACES = (b" ", b"\t", b"\r", b"\v", b"\f")
_WORD = re.compile(rb"\A\S+")
_LEFT_OUT = f" ... (the rest of a word of more than {LINE_LIMIT} bytes is left out)".encode()


def relog(subtask_id: str, record: dict[str, Any]) -> None:
    """Log a record that a task's process has handed over."""
    # A lone surrogate would break the handlers that write it.
    message = str(record["message"]).encode(errors="replace").decode()
    name, level = str(record["name"])[:NAME_LIMIT], int(record["level"])
    logger = _known_logger(name)
    if level >= logger.getEffectiveLevel() and level > logger.manager.disable:
        about = {"subtask_id": subtask_id}
        made = logger.makeRecord(name, level, "", 0, "%s", (message,), None, extra=about)
        logger.handle(made)


def _known_logger(name: str) -> logging.Logger:
    """That logger, or the nearest above it: one that is made here would be kept for good."""
    known = logging.root.manager.loggerDict
    while name:
        found = known.get(name)
        if isinstance(found, logging.Logger):
            return found
        name = name.rpartition(".")[0]
    return logging.root


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
        for line in _pieces(pipe):
            text = line.decode(errors="replace").rstrip()
            if text:
                logger.info("%s", text, extra={"subtask_id": subtask_id})


def _pieces(pipe: IO[bytes]) -> Iterator[bytes]:
    """Lines; long ones in pieces that end between words: nobody knows the half of a URL as one.

    The rest of a word that is longer than a piece is left out, from its last URL on.
    """
    rest, skips = b"", False
    while line := pipe.readline(LINE_LIMIT):
        goes_on = len(line) == LINE_LIMIT and not line.endswith(b"\n")
        if skips:
            line = _WORD.sub(b"", line, count=1)
            skips = not line
        piece, rest = rest + line, b""
        if goes_on:
            end = 1 + max(piece.rfind(space) for space in _SPACES)
            piece, rest = piece[:end], piece[end:]
        if len(rest) >= LINE_LIMIT:
            before, found, word = rest.rpartition(b"://")
            piece += (before if found else word) + _LEFT_OUT
            rest, skips = b"", True
        yield piece
    yield rest
