"""Pieces of one file in parallel: bounded, stoppable, each retried alone."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

from plugin_framework.errors import TransferError
from plugin_framework.transfer.engine import AbortedError, EngineOptions
from plugin_framework.transfer.exchange import POLL_SECONDS
from plugin_framework.transfer.refusals import asks_to_slow_down, is_transient

LONGEST_WAIT = 20.0
"""Seconds between two attempts, at the most."""

RECOVERY = 8
"""Pieces in a row that must go through before one more is tried at once."""

T = TypeVar("T")
Piece = TypeVar("Piece")


class Width:
    """How many pieces may be under way at once: fewer when storage asks for it."""

    def __init__(self, most: int) -> None:
        self.now = self.most = max(1, most)
        self._taken = 0
        self._successes = 0
        self._changed = threading.Condition()

    @contextmanager
    def slot(self, stop: threading.Event) -> Iterator[None]:
        """One of the places, once there is one; a waiting caller gets one too when stopped."""
        with self._changed:
            while self._taken >= self.now and not stop.is_set():
                self._changed.wait(POLL_SECONDS)
            self._taken += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken -= 1
                self._changed.notify()

    def narrow(self) -> None:
        """Halve it."""
        with self._changed:
            self.now = max(1, self.now // 2)
            self._successes = 0

    def succeeded(self) -> None:
        """Note that a piece went through; now and then that allows one more."""
        with self._changed:
            self._successes += 1
            if self._successes % RECOVERY == 0:
                self.now = min(self.most, self.now + 1)


def run_all(
    pieces: Iterable[Piece],
    work: Callable[[Piece, threading.Event], object],
    *,
    width: Width,
    tick: Callable[[], None],
) -> None:
    """Run ``work(piece, stop)`` for all pieces, and ``tick`` every 0.1 s in this thread.

    No piece starts while ``tick`` blocks. Whatever it or a piece raises sets ``stop``, and is
    raised once all pieces under way have ended.
    """
    stop = threading.Event()
    waiting = deque(pieces)
    running: set[Future[object]] = set()
    with ThreadPoolExecutor(width.most, thread_name_prefix="transfer") as pool:
        try:
            while waiting or running:
                tick()
                while waiting and len(running) < width.now:
                    running.add(pool.submit(work, waiting.popleft(), stop))
                done, running = wait(running, POLL_SECONDS, FIRST_COMPLETED)
                for future in done:
                    future.result()
                    width.succeeded()
        finally:
            stop.set()
    tick()


def persist(
    attempt: Callable[[], T], *, options: EngineOptions, stop: threading.Event, width: Width
) -> T:
    """The first success of ``attempt``, which is made again after what may pass.

    Raises:
        AbortedError: ``stop`` was set.
        TransferError: the last attempt's.
    """
    waits = _waits(options)
    while True:
        try:
            with width.slot(stop):
                return attempt()
        except TransferError as error:
            pause = next(waits, None) if is_transient(error) else None
            if pause is None:
                raise
            if asks_to_slow_down(error):
                width.narrow()
        if stop.wait(pause):
            raise AbortedError("the transfer was stopped between two attempts")


def _waits(options: EngineOptions) -> Iterator[float]:
    """Seconds before each further attempt: full jitter under a doubling bound."""
    for exponent in range(options.attempts - 1):
        bound = min(options.backoff * 2**exponent, LONGEST_WAIT)
        yield random.uniform(0, bound)  # noqa: S311 - jitter, no secret
