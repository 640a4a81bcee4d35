"""Pieces of work in parallel: bounded, stoppable, each retried alone."""

from __future__ import annotations

import queue
import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from plugin_framework.errors import TransferError
from plugin_framework.transfer.engine import AbortedError, EngineOptions
from plugin_framework.transfer.exchange import POLL_SECONDS
from plugin_framework.transfer.refusals import asks_to_slow_down, is_transient

LONGEST_WAIT = 20.0
"""Seconds between two attempts, at the most."""

RECOVERY = 8
"""Pieces in a row that must go through before one more is tried at once."""

PROCESS_FACTOR = 2
"""A process moves so many times the parts of one file at once, unless told otherwise."""

IDLE_SECONDS = 0.02
"""How often to look whether a piece is ready, where one more might be under way."""

T = TypeVar("T")
Piece = TypeVar("Piece")


class Width:
    """How many pieces may be under way at once: fewer when storage asks for it."""

    def __init__(self, most: int) -> None:
        self.most: int = max(1, most)
        self.now: int = self.most
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


class Tally:
    """How many pieces of a transfer went through, and how many attempts more that took."""

    def __init__(self) -> None:
        self.parts: int = 0
        self.retries: int = 0
        self._lock = threading.Lock()

    def count(self, *, parts: int = 0, retries: int = 0) -> None:
        """Add to it."""
        with self._lock:
            self.parts += parts
            self.retries += retries


class Shares:
    """Places that several transfers share: who has the fewest gets the next one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken: Counter[Width] = Counter()
        self._waiting: list[Width] = []

    @contextmanager
    def slot(self, who: Width, most: int, stop: threading.Event) -> Iterator[None]:
        """One of ``most`` places; a waiting caller gets one too when stopped."""
        with self._changed:
            self._waiting.append(who)
            while not (stop.is_set() or self._is_next(who, most)):
                self._changed.wait(POLL_SECONDS)
            self._waiting.remove(who)
            self._taken[who] += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken[who] -= 1
                self._taken += Counter()  # forgets who has none
                self._changed.notify_all()

    def _is_next(self, who: Width, most: int) -> bool:
        # min() takes the first of equals: the one that has waited longest.
        return self._taken.total() < most and min(self._waiting, key=self._taken.__getitem__) is who


# The machine's network is the process's, however many engines there are in it.
_PROCESS = Shares()


class Reins(threading.Event):
    """Set, it stops what is under way; ``held``, nothing new starts."""

    def __init__(self) -> None:
        super().__init__()
        self._going = threading.Event()

    def hold(self, tick: Callable[[], None]) -> None:
        """Let nothing start until ``tick`` returns."""
        self._going.clear()
        tick()
        self._going.set()

    @property
    def held(self) -> bool:
        """Whether nothing may start for now."""
        return not (self._going.is_set() or self.is_set())

    def checkpoint(self) -> None:
        """Wait while held.

        Raises:
            AbortedError: it is stopped.
        """
        while not self.is_set() and not self._going.wait(POLL_SECONDS):
            pass
        if self.is_set():
            raise AbortedError("the transfer was stopped")


def run_all(
    pieces: Iterable[Piece],
    work: Callable[[Piece, Reins], object],
    *,
    width: Width,
    tick: Callable[[], None],
    ready: Callable[[Piece], bool] = lambda _piece: True,
) -> None:
    """Run ``work(piece, stop)`` for all pieces, and ``tick`` every 0.1 s in this thread.

    Pieces start in their order, each once it is ``ready``, and none while ``tick`` blocks. Whatever
    it or a piece raises sets ``stop``, and is raised once all pieces under way have ended.
    """
    stop = Reins()
    waiting = deque(pieces)
    crew = _Crew(work, stop)
    try:
        while waiting or crew.busy:
            stop.hold(tick)
            while waiting and crew.busy < width.now and ready(waiting[0]):
                crew.start(waiting.popleft())
            idle = waiting and crew.busy < width.now
            crew.wait_for_one(IDLE_SECONDS if idle else POLL_SECONDS)
    finally:
        stop.set()
        crew.leave()
    tick()


class _Crew(Generic[Piece]):
    """As many threads as there are pieces under way.

    They are daemons: a call that hangs must not keep the interpreter from exiting.
    """

    def __init__(self, work: Callable[[Piece, Reins], object], stop: Reins) -> None:
        self.busy = 0
        self._work = work
        self._stop = stop
        self._handed: queue.SimpleQueue[tuple[Piece] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def start(self, piece: Piece) -> None:
        """Have a thread take the piece."""
        self.busy += 1
        self._handed.put((piece,))
        if self.busy > len(self._threads):
            thread = threading.Thread(target=self._run, daemon=True, name="transfer")
            self._threads.append(thread)
            thread.start()

    def wait_for_one(self, seconds: float) -> None:
        """Wait so long for a piece to go through; raises what it raised."""
        try:
            error = self._done.get(timeout=seconds)
        except queue.Empty:
            return
        self.busy -= 1
        if error is not None:
            raise error

    def leave(self) -> None:
        """Wait for the threads to end."""
        for _ in self._threads:
            self._handed.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (handed := self._handed.get()) is not None:
            try:
                self._work(handed[0], self._stop)
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
                self._done.put(error)
            else:
                self._done.put(None)


def persist(
    attempt: Callable[[], T],
    *,
    options: EngineOptions,
    stop: threading.Event,
    width: Width,
    tally: Tally | None = None,
) -> T:
    """The first success of ``attempt``, which is made again after what may pass.

    Each takes a place of its transfer's, and one of those that the process has for all transfers.

    Raises:
        AbortedError: ``stop`` was set.
        TransferError: the last attempt's.
    """
    waits, tally = _waits(options), tally or Tally()
    most = options.process_concurrency or PROCESS_FACTOR * options.concurrency
    while True:
        if isinstance(stop, Reins):
            stop.checkpoint()
        try:
            with width.slot(stop), _PROCESS.slot(width, most, stop):
                if isinstance(stop, Reins) and stop.held:
                    continue  # whoever is held keeps no place from others
                done = attempt()
        except TransferError as error:
            pause = next(waits, None) if is_transient(error) else None
            if pause is None:
                raise
            if asks_to_slow_down(error):
                width.narrow()
        else:
            width.succeeded()
            tally.count(parts=1)
            return done
        if stop.wait(pause):
            raise AbortedError("the transfer was stopped between two attempts")
        tally.count(retries=1)


def _waits(options: EngineOptions) -> Iterator[float]:
    """Seconds before each further attempt: full jitter under a doubling bound."""
    for exponent in range(options.attempts - 1):
        bound = min(options.backoff * 2**exponent, LONGEST_WAIT)
        yield random.uniform(0, bound)  # noqa: S311 - jitter, no secret
