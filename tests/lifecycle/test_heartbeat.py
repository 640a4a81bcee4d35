"""Periodic calls: on time, whatever the wall clock and the other calls do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Self

import apscheduler.executors.base
import apscheduler.schedulers.base
import pytest

from plugin_framework.lifecycle import heartbeat
from plugin_framework.lifecycle.heartbeat import Ticker


@pytest.fixture
def ticker() -> Iterator[Ticker]:
    with closing(Ticker()) as running:
        yield running


class Count:
    """Counts calls; ``reach`` waits for a number of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls = 0

    def __call__(self) -> None:
        with self._changed:
            self._calls += 1
            self._changed.notify_all()

    def reach_more(self, number: int, timeout: float = 10) -> bool:
        with self._changed:
            wanted = self._calls + number
            return self._changed.wait_for(lambda: self._calls >= wanted, timeout)


class SteppedClock(datetime):
    """A wall clock that was set back by an hour, as APScheduler reads it."""

    back = timedelta(0)

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        assert tz is not None
        wall = datetime.now(UTC) - cls.back
        return tz.fromutc(wall.replace(tzinfo=tz))  # type: ignore[return-value]  # of this class, as its argument


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[SteppedClock]:
    for module in (apscheduler.schedulers.base, apscheduler.executors.base):
        monkeypatch.setattr(module, "datetime", SteppedClock)
    monkeypatch.setattr(SteppedClock, "back", timedelta(0))
    return SteppedClock


@pytest.mark.parametrize(("zone", "goes_on"), [(heartbeat.MonotonicZone, True), (None, False)])
def test_a_clock_set_back_silences_only_what_goes_by_the_wall(
    monkeypatch: pytest.MonkeyPatch, clock: type[SteppedClock], zone: Any, *, goes_on: bool
) -> None:
    monkeypatch.setattr(heartbeat, "MonotonicZone", zone or (lambda: UTC))
    count = Count()
    with closing(Ticker()) as ticker:
        ticker.start(lambda: 0.05, count)
        assert count.reach_more(3)
        clock.back = timedelta(hours=1)
        count.reach_more(2, timeout=0.2)  # what was due already
        assert count.reach_more(3, timeout=10 if goes_on else 0.5) is goes_on


def test_a_call_that_hangs_starves_no_other(ticker: Ticker) -> None:
    release, hung = threading.Event(), threading.Semaphore(0)

    def hang() -> None:
        hung.release()
        release.wait()

    for _ in range(40):
        ticker.start(lambda: 0.05, hang)
    for _ in range(40):
        hung.acquire()
    count = Count()
    ticker.start(lambda: 0.05, count)
    try:
        assert count.reach_more(5)
    finally:
        release.set()


def test_stop_waits_for_a_call_under_way(ticker: Ticker) -> None:
    entered, release = threading.Event(), threading.Event()
    over: list[bool] = []

    def call() -> None:
        entered.set()
        release.wait()
        over.append(True)

    tick = ticker.start(lambda: 0.05, call)
    assert entered.wait(10)
    tick.stop(wait=False)
    assert over == []
    stopper = threading.Thread(target=tick.stop)
    stopper.start()
    assert stopper.is_alive()
    release.set()
    stopper.join(10)
    assert over == [True]
    tick.run()
    assert over == [True]


def test_a_call_that_fails_is_made_again(ticker: Ticker, caplog: pytest.LogCaptureFixture) -> None:
    count = Count()

    def fail() -> None:
        count()
        raise ValueError("no")

    ticker.start(lambda: 0.05, fail)
    assert count.reach_more(3)
