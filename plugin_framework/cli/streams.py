"""Keeps stdout for what the command has to say, and stderr for its log, whatever is printed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TextIO

from plugin_framework.cli.logs import tell
from plugin_framework.errors import Code, Problem

DRAIN_SECONDS = 2.0
"""A child process that a plugin left behind may keep the pipe open; nobody waits for it longer."""


@contextmanager
def own_stdout() -> Iterator[Callable[[str], None]]:
    """Yield what writes a line to the real stdout; from now on all else goes to stderr."""
    _open_closed_streams()
    real = os.dup(1)  # not inherited by child processes
    os.dup2(2, 1)
    try:
        yield partial(_write_line, real)
    finally:
        os.close(real)


@contextmanager
def own_streams() -> Iterator[tuple[Callable[[str], None], TextIO]]:
    """As ``own_stdout``, but what else is printed is logged; yield the real stderr, too."""
    from plugin_framework.isolation.output import pump_lines  # noqa: PLC0415 - loaded late

    with own_stdout() as say:
        # Never closed: what is wrong is logged there to the very end.
        stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
        reader, writer = os.pipe()
        _redirect(writer)
        os.close(writer)
        pump = pump_lines(reader, "datahub.output")
        try:
            yield say, stderr
        finally:
            _redirect(stderr.fileno())
            pump.join(DRAIN_SECONDS)


def _redirect(fd: int) -> None:
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        stream.flush()
        os.dup2(fd, number)


def _write_line(fd: int, text: str) -> None:
    """Write it all; SystemExit(1) where nobody reads, or nothing can be written."""
    # Half a surrogate pair becomes \udXXX, which is what it is in JSON.
    data = f"{text}\n".encode(errors="backslashreplace")
    try:
        while data:
            data = data[os.write(fd, data) :]
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        tell(Problem(f"stdout cannot be written ({error.strerror})", Code.FOLDER_UNUSABLE))
        sys.exit(1)


def _open_closed_streams() -> None:
    """A closed standard stream would be given away to the next file that is opened."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - stderr
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
