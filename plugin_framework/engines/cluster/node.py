"""A process that takes subtasks: what the others know of it, and what reaches the runs in it."""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from plugin_framework._version import __version__
from plugin_framework.engines.cluster.holding import Holdings
from plugin_framework.engines.cluster.identity import Familiar
from plugin_framework.engines.cluster.records import Lease, NodeRecord, Offer
from plugin_framework.engines.cluster.store import LeaseStore
from plugin_framework.engines.local import LocalEngine
from plugin_framework.errors import Code, DatahubError, Problem
from plugin_framework.lifecycle.runner import Run
from plugin_framework.lifecycle.watch import TERM_TO_KILL_SECONDS
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.settings import Settings

BEAT_SECONDS = 1.0
"""Between two records of a node."""

REPORT_SECONDS = 10.0
"""What is left for reports and for giving back when the grace period of a drain is over."""

CLOCK_SECONDS = 2.0
"""By how much a clock may differ from the store's before the log says so."""

log: logging.Logger = logging.getLogger("datahub.node")


def node_name(label: str) -> str:
    """A name that no other process has had: brokers hold on to those of the dead for a while."""
    return f"{label}-{os.getpid()}-{secrets.token_hex(2)}"


@dataclass(eq=False, slots=True)
class _Attempt:
    """A message that is being worked on; ``wanted`` came before there was a run to tell it."""

    subtask_id: str
    run: Run | None = None
    wanted: TaskStatus | None = None


class Node:
    """One process of a cluster. All methods may be called from any thread.

    ``engines`` are those of the plugins that it runs; ``plugins`` are the versions of these, and
    of those that it would run if their subtasks fitted into its ``offer``. The record is
    written once a second, from ``open`` on.
    """

    def __init__(
        self,
        name: str,
        *,
        engine: str,
        settings: Settings,
        store: LeaseStore,
        holdings: Holdings,
        engines: Mapping[str, LocalEngine],
        plugins: Mapping[str, str],
        offer: Offer,
        slots: int,
    ) -> None:
        self.name: str = name
        self.label: str = settings.node
        self.settings: Settings = settings
        self.store: LeaseStore = store
        self.holdings: Holdings = holdings
        self.engines: Mapping[str, LocalEngine] = engines
        self.slots: int = slots
        self.draining: threading.Event = threading.Event()
        self.familiar: Familiar = Familiar(store)
        self._engine = engine
        self._offer = offer
        self._plugins = plugins
        self._changed = threading.Condition()
        self._attempts: list[_Attempt] = []
        self._ended: Counter[str] = Counter()
        self._signal: int | None = None
        self._hurried = False
        self._started, self._beats, self._ahead = time.time(), 0, 0.0
        self._problem: str | None = None
        self._news, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep_known, daemon=True, name="node")

    # What runs

    @contextmanager
    def attempting(self, subtask_id: str) -> Iterator[None]:
        """Around all that is done for a message: a drain waits for it."""
        attempt = _Attempt(subtask_id)
        with self._changed:
            self._attempts.append(attempt)
        try:
            yield
        finally:
            with self._changed:
                self._attempts.remove(attempt)
                self._changed.notify_all()

    @contextmanager
    def running(self, run: Run, lease: Lease) -> Iterator[None]:
        """Around a run, inside ``attempting``: control and drain reach it, those of before too."""
        with self._changed:
            attempt = next(
                one
                for one in reversed(self._attempts)
                if one.subtask_id == lease.subtask_id and one.run is None
            )
            attempt.run, wanted, number = run, attempt.wanted, self._signal
        if wanted is not None:
            _control(run, wanted)
        if number is not None:
            run.shutdown(number)
        try:
            yield
        finally:
            with self._changed:
                attempt.run = None

    def ended(self, status: TaskStatus) -> None:
        """Count a subtask that this process brought to its end."""
        with self._changed:
            self._ended[status.name.lower()] += 1

    def control(self, subtask_id: str, status: TaskStatus) -> None:
        """Pause, go on with or cancel a subtask, if it is here."""
        with self._changed:
            here = [one for one in self._attempts if one.subtask_id == subtask_id]
            for attempt in here:
                attempt.wanted = status
            runs = [one.run for one in here if one.run]
        for run in runs:
            _control(run, status)

    # The end

    def drain(self, number: int) -> bool:
        """Begin no more, and wait until nothing is worked on; False if that took too long.

        What runs may go on for ``DRAIN_SECONDS``; then ``ON_SHUTDOWN`` says what becomes of it, as
        of the signal ``number``. Without grace, once ``hurry`` was called.
        """
        self.draining.set()
        self._news.set()
        with self._changed:
            self._changed.wait_for(
                lambda: self._hurried or not self._attempts, self.settings.drain_seconds
            )
            self._signal = number
            runs = self._runs() * (2 if self._hurried else 1)
        for run in runs:
            run.shutdown(number)
        longest = self.settings.grace_seconds + 2 * TERM_TO_KILL_SECONDS + REPORT_SECONDS
        with self._changed:
            return self._changed.wait_for(lambda: not self._attempts, longest)

    def hurry(self, number: int) -> None:
        """End what runs now: another signal came during a drain."""
        with self._changed:
            self._hurried = True
            runs = self._runs() if self._signal is not None else []
            self._changed.notify_all()
        for run in runs:
            run.shutdown(number)

    def _runs(self) -> list[Run]:
        return [one.run for one in self._attempts if one.run]

    # What the others know

    def open(self) -> None:
        """Write the first record, and have a thread write the others.

        Raises:
            StoreUnreachableError: the first could not be written.
        """
        self._beat()
        self._thread.start()

    def close(self) -> None:
        """Remove the record."""
        self._closed.set()
        self._news.set()
        if self._thread.ident is not None:
            self._thread.join(REPORT_SECONDS)
        with suppress(DatahubError):  # who finds it there sees that it does not beat
            self.store.leave(self.name)

    def _keep_known(self) -> None:
        while not self._closed.is_set():
            self._news.wait(BEAT_SECONDS)
            self._news.clear()
            try:
                self._beat()
            except DatahubError as error:
                self._say(Problem(f"the others do not hear of this node: {error}", error.code))
            except Exception:
                log.exception("the record of this node could not be written")
            else:
                self._say(None)

    def _beat(self) -> None:
        before = time.time()
        theirs = self.store.beat(self._record())
        ahead = (before + time.time()) / 2 - theirs
        if abs(ahead) > CLOCK_SECONDS >= abs(self._ahead):
            told = f"the clock is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'}"
            log.warning("%s", Problem(f"{told} that of the store", Code.CLOCK_OFF))
        self._ahead = ahead

    def _record(self) -> NodeRecord:
        self._beats += 1
        with self._changed:
            return NodeRecord(
                name=self.name,
                label=self.label,
                engine=self._engine,
                framework=__version__,
                plugins=self._plugins,
                offer=self._offer,
                slots=self.slots,
                running=tuple(one.subtask_id for one in self._attempts if one.run),
                draining=self.draining.is_set(),
                started=self._started,
                beats=self._beats,
                clock=self._ahead,
                ended=dict(self._ended),
            )

    def _say(self, problem: Problem | None) -> None:
        """Log what is wrong once, and once that it is over."""
        if problem is not None and self._problem is None:
            log.warning("%s", problem)
        elif problem is None and self._problem is not None:
            log.info("the others hear of this node again")
        self._problem = problem


def _control(run: Run, status: TaskStatus) -> None:
    if status is TaskStatus.CANCELLED:
        run.cancel()
    elif status is TaskStatus.PAUSED:
        run.pause()
    elif status is TaskStatus.RUNNING:
        run.resume()
