"""Processes that validate configs: the author's validators may hang in them, and crash them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from plugin_framework.isolation.channel import Channel
from plugin_framework.isolation.worker_exit import WorkerExit

CHECK_SECONDS = 5.0
"""How long a validation may take."""

LATE = f"config: its validation did not end within {CHECK_SECONDS:g} s"

MOST_KEPT = 4
"""Processes that wait for the next config."""

EXIT_SECONDS = 2.0
"""How long it may take until it is known how a process ended."""


class CheckerDiedError(Exception):
    """A process ended before it had answered; the text says how."""


class Checker:
    """One process, for one thread at a time; ``pid`` is known once it is forked."""

    def __init__(self, connection: Connection) -> None:
        self.pid: int | None = None
        self._connection = connection
        self._channel = Channel(connection)
        self._exit: Future[WorkerExit] = Future()

    @property
    def gone(self) -> bool:
        """Whether it has ended."""
        return self._exit.done()

    def start(self) -> None:
        """Tell the process what it is for."""
        with suppress(OSError):  # asking it says how it died
            self._channel.send({"checks": True})

    def ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a message.

        Raises:
            TimeoutError: there was none within ``CHECK_SECONDS``.
            CheckerDiedError: the process ended instead.
        """
        try:
            self._channel.send(message)
            answered = self._connection.poll(CHECK_SECONDS)
            if answered:
                return self._channel.receive()
        except (EOFError, OSError, ValueError):
            self.kill()
            raise CheckerDiedError(self._cause()) from None
        raise TimeoutError

    def kill(self) -> None:
        """End it, and all that it started."""
        if self.pid is not None and not self.gone:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """End it. For the thread that asked last."""
        self.kill()
        self._channel.close()

    def exited(self, how: WorkerExit) -> None:
        """The process is gone."""
        self.kill()
        self._exit.set_result(how)

    def _cause(self) -> str:
        try:
            how = self._exit.result(EXIT_SECONDS)
        except TimeoutError:
            return "its process ended"
        return how.cause() if how.code < 0 else f"its process exited with code {how.code}"


class Checkers:
    """As many processes as there are questions at once; a few are kept for the next ones."""

    def __init__(self, fork: Callable[[], Checker]) -> None:
        self._fork = fork
        self._lock = threading.Lock()
        self._kept: list[Checker] = []

    def ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of a process, for any number of threads.

        Raises:
            TimeoutError: there was none within ``CHECK_SECONDS``.
            CheckerDiedError: the process ended instead.
            PluginLoadError, PluginCrashedError: no process can be had.
        """
        kept = self._take()
        if kept is not None:
            # It may have died of something else.
            with suppress(CheckerDiedError):
                return self._ask(kept, message)
        return self._ask(self._fork(), message)

    def close(self) -> None:
        """End those that are kept."""
        with self._lock:
            kept, self._kept = self._kept, []
        for checker in kept:
            checker.close()

    def _ask(self, checker: Checker, message: Mapping[str, Any]) -> dict[str, Any]:
        try:
            answer = checker.ask(message)
        except BaseException:
            checker.close()
            raise
        with self._lock:
            keep = len(self._kept) < MOST_KEPT
            if keep:
                self._kept.append(checker)
        if not keep:
            checker.close()
        return answer

    def _take(self) -> Checker | None:
        while True:
            with self._lock:
                if not self._kept:
                    return None
                checker = self._kept.pop()
            if not checker.gone:
                return checker
            checker.close()
