"""Ten minutes without Datahub when the result is due, on a clock that jumps."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from plugin_framework.errors import (
    ConnectionFailedError,
    DatahubError,
    InvalidAnswerError,
    ServerUnavailableError,
)
from plugin_framework.journal.journal import Journal
from plugin_framework.lifecycle.reporter import Reporter
from plugin_framework.protocol import backoff
from plugin_framework.protocol.models import TaskStatus

T = TypeVar("T")
OUTAGE = 600.0
OUTAGES: dict[str, tuple[float, Callable[[], DatahubError]]] = {
    "refused": (0.0, lambda: ConnectionFailedError("refused")),
    "unavailable": (0.05, lambda: ServerUnavailableError("503")),
    "html": (0.05, lambda: InvalidAnswerError("html", unknown_outcome=True)),
    "unroutable": (5.0, lambda: ConnectionFailedError("no connection in time")),
    "reset": (0.01, lambda: ConnectionFailedError("reset", unknown_outcome=True)),
    "hanging": (60.0, lambda: ConnectionFailedError("no answer in time", unknown_outcome=True)),
}
"""How long a call takes meanwhile, in seconds, and how it fails."""


class Clock:
    """Seconds since the start; waiting makes them pass."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def wait(self, wait: Callable[[float], T], until: float) -> T:
        self.seconds = until
        return wait(0)


class Datahub:
    """Down for ten minutes; a call that began before they were over fails nonetheless."""

    def __init__(self, clock: Clock, outage: str) -> None:
        self._clock = clock
        self._takes, self._failure = OUTAGES[outage]
        self.calls = 0
        self.bodies: set[bytes] = set()
        self.reported_at: float | None = None

    def post(self, path: str, body: bytes, *, patience: float, deadline: float) -> None:
        self.bodies.add(body)
        self._answer()
        self.reported_at = self._clock.now()

    def notify(self, task_id: str, *, patience: float) -> TaskStatus:
        self._answer()
        return TaskStatus.RUNNING if self.reported_at is None else TaskStatus.COMPLETED

    def _answer(self) -> None:
        self.calls += 1
        if self._clock.now() < OUTAGE:
            self._clock.seconds += self._takes
            raise self._failure()


@pytest.mark.parametrize("outage", OUTAGES)
def test_a_result_outlasts_ten_minutes_and_arrives_within_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outage: str
) -> None:
    """For 200 seeds: at most 60 calls, each of the same bytes."""
    journal = Journal(tmp_path / "journal.sqlite3")
    journal.start_attempt("s", task_id=None, plugin="p", config={})
    report = journal.add_report("s", status=3, path="/api/task/result", body=b"{}", outcome={})
    late, calls = [], []
    for seed in range(200):
        clock = Clock()
        datahub = Datahub(clock, outage)
        monkeypatch.setattr(backoff, "random", random.Random(seed))
        reporter = Reporter(datahub, journal, "s", task_id=None, clock=clock)  # type: ignore[arg-type]  # a Datahub that answers this call alone
        reporter._pending = [report]
        reporter._deliver(report, float("inf"))
        assert datahub.reported_at is not None
        assert datahub.bodies == {b"{}"}
        late.append(datahub.reported_at - OUTAGE)
        calls.append(datahub.calls)
    journal.close()
    assert max(calls) <= 60
    assert max(late) <= 60
