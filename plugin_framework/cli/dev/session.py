"""A local Datahub and a service that is started anew whenever its code changes."""

from __future__ import annotations

import logging
import math
import os
import queue
import select
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import httpx

from plugin_framework.cli.dev.lines import Keeper, address_of, record_of
from plugin_framework.cli.dev.service import Orders, ServiceProcess
from plugin_framework.cli.dev.sources import Sources, Watch
from plugin_framework.emulator import Emulator

UNUSABLE = 2
"""The service's exit code where it has to be mended: trying again would change nothing."""

LONGEST_PAUSE = 30.0
"""Seconds between two starts of a service that ends by itself."""

STEADY_SECONDS = 30.0
"""A service that has lived as long is no longer counted as one that ends by itself."""

WAKE_SECONDS = 0.25
"""How late a signal may be heard of."""

REGISTER_SECONDS = 15.0
"""What the Datahub may take to ask a service for its plugins."""

log: logging.Logger = logging.getLogger("datahub.dev")


@dataclass(frozen=True, slots=True)
class Changed:
    """Files of these names were written."""

    files: Sequence[str]


@dataclass(frozen=True, slots=True)
class Serving:
    """The service that was begun then (of ``time.monotonic``) takes calls."""

    began: float


@dataclass(frozen=True, slots=True)
class Ended:
    """A service is gone."""

    service: ServiceProcess


@dataclass(frozen=True, slots=True)
class Gone:
    """The Datahub's process is gone."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A signal came."""

    number: int


@dataclass(frozen=True, slots=True)
class Due:
    """It is time for another start."""


Happening = Changed | Serving | Ended | Gone | Stop | Due


class Happenings:
    """What comes from threads, and from SIGINT, SIGTERM and SIGHUP as soon as this is made.

    For the main thread, but for ``put``. From the second signal on, ``at_once`` is called, too.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Happening] = queue.SimpleQueue()
        self._stopping = False
        self.at_once: Callable[[], None] = lambda: None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._take_signal)

    def put(self, happening: Happening) -> None:
        """Something happened."""
        self._queue.put(happening)

    def next(self, due: float | None) -> Happening:
        """What is next; ``Due`` when that time (of ``time.monotonic``) comes first.

        It wakes now and then: where another thread receives a signal, no handler is called as long
        as this one waits.
        """
        while due is None or time.monotonic() < due:
            left = math.inf if due is None else due - time.monotonic()
            with suppress(queue.Empty):
                return self._queue.get(timeout=max(min(left, WAKE_SECONDS), 0))
        return Due()

    def _take_signal(self, number: int, _frame: object) -> None:
        if self._stopping:
            self.at_once()
        self._stopping = True
        self.put(Stop(number))


class Session:
    """For the main thread, as its service is."""

    def __init__(self, happenings: Happenings, datahub: Emulator, orders: Orders) -> None:
        self._happenings = happenings
        self._datahub = datahub
        self._orders = orders
        self._keeper = Keeper(datahub.store)
        self._service: ServiceProcess | None = None
        self._began = 0.0
        self._due: float | None = None
        self._ends_in_a_row = 0
        happenings.at_once = self._kill_service

    def run(self, sources: Sources) -> int:
        """Serve until a signal comes; returns the exit code."""
        put = self._happenings.put
        with self._keeper, Watch(sources, lambda files: put(Changed(files))):
            threading.Thread(target=self._await_datahub, daemon=True, name="datahub").start()
            self._start_service()
            try:
                return self._serve()
            finally:
                self._stop_service()

    def _serve(self) -> int:
        while True:
            match self._happenings.next(self._due):
                case Stop(number):
                    name = signal.Signals(number).name
                    log.info("%s: what runs and what waits goes on at the next start", name)
                    return 0
                case Gone():
                    log.error("the local Datahub has ended by itself")
                    return 1
                case happening:
                    self._handle(happening)

    def _handle(self, happening: Happening) -> None:
        match happening:
            case Changed(files):
                log.info("%s changed: the service starts anew", _some(files))
                self._ends_in_a_row = 0
                self._stop_service()
                self._start_service()
            case Serving(began) if began == self._began and self._service is not None:
                self._register()
            case Ended(service) if service is self._service:
                self._service = None
                self._note_end(service.code)
            case Due():
                self._start_service()

    # The service

    def _start_service(self) -> None:
        self._due, self._began = None, time.monotonic()
        self._service = ServiceProcess(
            self._orders, self._take, lambda service: self._happenings.put(Ended(service))
        )

    def _stop_service(self) -> None:
        self._due = None
        if self._service is not None:
            self._service.stop()
            self._service = None

    def _kill_service(self) -> None:
        if self._service is not None:
            self._service.kill()

    def _take(self, line: str) -> None:
        record = record_of(line)
        self._keeper.take(record)
        if address_of(record) is not None:
            self._happenings.put(Serving(self._began))
        # Last, for filters rewrite it. Its level was looked at where it was logged.
        logging.root.handle(record)

    def _note_end(self, code: int) -> None:
        if code == UNUSABLE:
            log.warning("the service is not running: it is started again when a file changes")
            return
        if time.monotonic() - self._began > STEADY_SECONDS:
            self._ends_in_a_row = 0
        pause = min(2.0**self._ends_in_a_row, LONGEST_PAUSE)
        self._ends_in_a_row += 1
        self._due = time.monotonic() + pause
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        log.error("the service %s: it is started again in %.0f s", how, pause)

    # The Datahub

    def _register(self) -> None:
        """Have the Datahub ask the service which plugins it has."""
        url = f"http://127.0.0.1:{self._orders.port}"
        try:
            with httpx.Client(trust_env=False, timeout=REGISTER_SECONDS) as client:
                answer = client.post(
                    f"{self._datahub.url}/local/services",
                    json={"url": url},
                    headers={"X-Datahub-Local": "1"},
                )
            answer.raise_for_status()
            names = ", ".join(plugin["name"] for plugin in answer.json())
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            log.error("the local Datahub does not take the service: %s", error)  # noqa: TRY400 - one line
        else:
            log.info("on the page: %s", names)

    def _await_datahub(self) -> None:
        fd = os.pidfd_open(self._datahub.pid)
        select.select([fd], [], [])
        os.close(fd)
        self._happenings.put(Gone())


def _some(files: Iterable[str]) -> str:
    first, *others = files
    return f"{first} and {len(others)} more" if others else first
