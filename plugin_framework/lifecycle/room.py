"""Waiting for room in the journal: hours of work are worth more than a few minutes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from plugin_framework.errors import JournalDamagedError, JournalError, JournalFullError

log: logging.Logger = logging.getLogger("datahub.journal")

FIRST_DELAY, LONGEST_DELAY = 0.25, 5.0
"""Seconds between tries; each wait is twice as long as the one before."""


def wait_for_room(
    write: Callable[[], object],
    what: str,
    *,
    patience: float,
    ended: Callable[[float], bool],
    make_room: Callable[[], object] = lambda: None,
) -> None:
    """Repeat a write that the journal refuses, at most for ``patience`` seconds.

    ``what`` names it in the log. ``make_room`` is called once, if the disk is full. ``ended`` waits
    for at most so many seconds, and says whether to give up.

    Raises:
        JournalError: the journal still refuses it, or is damaged, which no waiting mends.
    """
    began = time.monotonic()
    delay: float | None = None
    while True:
        try:
            write()
        except JournalError as error:
            if delay is None:
                log.error("%s cannot be journalled: %s", what, error)  # noqa: TRY400 - one line
                delay = 0.0
                if isinstance(error, JournalFullError):
                    make_room()
                    continue
            left = began + patience - time.monotonic()
            if left <= 0 or isinstance(error, JournalDamagedError):
                raise
            if delay == 0:
                log.warning("%s is tried again for %.0f s, until it can be", what, left)
            delay = min(delay * 2 or FIRST_DELAY, LONGEST_DELAY)
            if ended(min(delay, left)):
                raise
        else:
            if delay is not None:
                log.warning("%s is journalled now, after %.1f s", what, time.monotonic() - began)
            return
