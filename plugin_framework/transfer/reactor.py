"""The threads that move bytes: a few for all transfers, each driving several by curl's events.

A thread for each transfer would spend its time waiting for the interpreter's lock: curl hands over
a body in pieces of 16 KiB, and each is a call into Python.
"""

from __future__ import annotations

import os
import selectors
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pycurl

MOST_THREADS = 4

KEPT_CONNECTIONS = 64
"""By one thread. Curl's own limit follows how many transfers are under way at the moment."""

LOOK_SECONDS = 1.0
"""How often transfers of which nothing moves are looked at, and asked whether they are to end."""

_EVENTS = {
    pycurl.POLL_IN: selectors.EVENT_READ,
    pycurl.POLL_OUT: selectors.EVENT_WRITE,
    pycurl.POLL_INOUT: selectors.EVENT_READ | selectors.EVENT_WRITE,
}


class Reactors:
    """As many reactors as are of use on this machine. Safe to use from several threads.

    ``alone``: each transfer has one of its own, since callbacks are to wait in it.
    """

    def __init__(self, *, alone: bool = False) -> None:
        self._most = sys.maxsize if alone else min(MOST_THREADS, os.cpu_count() or 1)
        self._begin()

    def _begin(self) -> None:
        self._all: list[_Reactor] = []
        self._lock = threading.Lock()
        self._process = os.getpid()

    def perform(self, curl: Any, abort: Callable[[], bool]) -> None:
        """What ``curl.perform()`` does; its callbacks are called by another thread.

        Raises:
            pycurl.error: curl's code, and its words.
        """
        if os.getpid() != self._process:
            self._begin()  # threads do not come along to a child
        with self._lock:
            reactor = self._least_busy()
            reactor.load += 1
        try:
            reactor.perform(curl, abort)
        finally:
            with self._lock:
                reactor.load -= 1
                if not reactor.load and reactor not in self._all:
                    reactor.close()

    def close(self) -> None:
        """Close the kept connections; what is under way goes on to its end."""
        with self._lock:
            for reactor in self._all:
                if not reactor.load:
                    reactor.close()
            self._all = []

    def _least_busy(self) -> _Reactor:
        least = min(self._all, key=lambda each: each.load, default=None)
        if least is None or (least.load and len(self._all) < self._most):
            least = _Reactor()
            self._all.append(least)
        return least


class _Transfer:
    """One that a reactor is to make."""

    def __init__(self, curl: Any) -> None:
        self.curl = curl
        self.done = threading.Event()
        self.failure: Exception | None = None


class _Reactor:
    """One thread with its connections. ``load``: how many transfers are its own."""

    def __init__(self) -> None:
        self.load = 0
        self._under_way: dict[Any, _Transfer] = {}
        self._orders: deque[Callable[[], None]] = deque()
        self._ordering = threading.Lock()
        self._closing = False
        self._looks_at = 0.0
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, KEPT_CONNECTIONS)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        # A daemon: a callback that hangs must not keep the interpreter from exiting.
        self._thread = threading.Thread(target=self._run, daemon=True, name="transfers")
        self._thread.start()

    def perform(self, curl: Any, abort: Callable[[], bool]) -> None:
        """Have a transfer made, and wait for its end."""
        transfer = _Transfer(curl)
        try:
            self._order(lambda: self._begin(transfer))
            while not transfer.done.wait(LOOK_SECONDS):
                if abort():
                    self._order(lambda: self._abort(transfer))
        except BaseException:
            # The handle must not go while it is in use.
            self._order(lambda: self._abort(transfer))
            transfer.done.wait()
            raise
        if transfer.failure is not None:
            raise transfer.failure

    def close(self) -> None:
        """End it; nothing may be under way, or begin."""
        self._order(self._close)

    def _order(self, order: Callable[[], None]) -> None:
        with self._ordering:
            if self._closing:
                return
            self._orders.append(order)
            with suppress(BlockingIOError):  # full: it will wake up
                os.write(self._waker, b"!")

    def _close(self) -> None:
        with self._ordering:
            self._closing = True
            os.close(self._woken)
            os.close(self._waker)

    def _run(self) -> None:
        while not self._closing:
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001 - raised again where it is waited for
                for transfer in list(self._under_way.values()):
                    self._end(transfer, error)
        self._multi.close()
        self._selector.close()

    def _turn(self) -> None:
        for key, events in self._selector.select(self._patience()):
            if key.fd == self._woken:
                os.read(self._woken, 4096)
            else:
                self._multi.socket_action(key.fd, _ready(events))
        while self._orders:
            self._orders.popleft()()
        if time.monotonic() >= self._looks_at:
            self._looks_at = time.monotonic() + LOOK_SECONDS
            self._look()
        if self._multi.timeout() == 0:
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._settle()

    def _look(self) -> None:
        """Show curl what does not move: by its timers alone it overlooks the low-speed limit."""
        for fd in list(self._selector.get_map()):
            if fd != self._woken:
                self._multi.socket_action(fd, 0)

    def _patience(self) -> float | None:
        """Seconds to wait for an event."""
        if not self._under_way:
            return None
        look = max(0.0, self._looks_at - time.monotonic())
        # Asked each time: curl tells a timer's function nothing where the timer was early.
        milliseconds = self._multi.timeout()
        return look if milliseconds < 0 else min(look, milliseconds / 1000)

    def _settle(self) -> None:
        left = 1
        while left:
            left, succeeded, failed = self._multi.info_read()
            for curl in succeeded:
                self._end(self._under_way[curl], None)
            for curl, code, words in failed:
                failure = pycurl.error(code, words or pycurl.easy_strerror(code))
                self._end(self._under_way[curl], failure)

    def _begin(self, transfer: _Transfer) -> None:
        self._under_way[transfer.curl] = transfer
        self._multi.add_handle(transfer.curl)

    def _abort(self, transfer: _Transfer) -> None:
        if transfer.curl in self._under_way:
            self._end(transfer, pycurl.error(pycurl.E_ABORTED_BY_CALLBACK, "aborted"))
        else:
            transfer.done.set()  # as it was, unless it never began

    def _end(self, transfer: _Transfer, failure: Exception | None) -> None:
        del self._under_way[transfer.curl]
        with suppress(Exception):  # it may not have begun
            self._multi.remove_handle(transfer.curl)
        transfer.failure = failure
        transfer.done.set()

    def _watch(self, events: int, fd: int, _multi: Any, _data: Any) -> None:
        if events == pycurl.POLL_REMOVE:
            self._selector.unregister(fd)
        elif fd in self._selector.get_map():
            self._selector.modify(fd, _EVENTS[events])
        else:
            self._selector.register(fd, _EVENTS[events])


def _ready(events: int) -> int:
    """What curl calls the events of a selector."""
    readable = pycurl.CSELECT_IN if events & selectors.EVENT_READ else 0
    writable = pycurl.CSELECT_OUT if events & selectors.EVENT_WRITE else 0
    return readable | writable
