"""Holds the upload of what finished work left, as a checkpoint holds the author's code."""

from __future__ import annotations

import threading
from collections.abc import Callable

from plugin_framework.errors import TaskCancelled
from plugin_framework.protocol.models import TaskStatus

POLL_SECONDS = 0.1


class Hold:
    """Where an upload waits. ``paused`` is asked again and again; ``stopped`` ends the wait.

    ``confirm`` is told when the pause takes hold, and when it is over: no hook is left to do so.
    """

    def __init__(
        self,
        paused: Callable[[], bool],
        stopped: threading.Event,
        confirm: Callable[[TaskStatus], object],
    ) -> None:
        self._paused = paused
        self._stopped = stopped
        self._confirm = confirm

    def check(self, *, begin: bool) -> None:
        """Return once the task is not paused, if a pause may ``begin`` here.

        Raises:
            TaskCancelled: the task is to stop.
        """
        if begin and self._paused() and not self._stopped.is_set():
            self._wait()
        if self._stopped.is_set():
            raise TaskCancelled("the task is being stopped")

    def _wait(self) -> None:
        self._confirm(TaskStatus.PAUSED)
        while self._paused() and not self._stopped.wait(POLL_SECONDS):
            pass
        if not self._stopped.is_set():
            self._confirm(TaskStatus.RUNNING)
