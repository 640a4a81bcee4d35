"""Runs go by a clock that a test moves on, and nothing sleeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from plugin_framework import DatahubPlugin, TaskContext, TaskStatus, hookimpl
from plugin_framework.lifecycle.clock import REAL
from plugin_framework.testing import Clock, LocalDatahub, TaskRun
from tests.testing.kit.plugins import Deaf, Lines, Waits

Start = Callable[..., TaskRun]


def test_heartbeats_and_polls(start_plugin: Start, clock: Clock) -> None:
    run = start_plugin(Waits, pause_at=1)
    clock.advance(30)
    first = len(run.heartbeats)
    clock.advance(3000)
    assert (len(run.heartbeats) - first, clock.now()) == (100, 3030)
    polls = [one for one in run.requests if one.path.endswith("/notify")]
    assert len(polls) == 3030 / 5 + 1
    run.cancel()
    run.wait()


def test_an_order_that_a_poll_brings(
    start_plugin: Start, clock: Clock, datahub: LocalDatahub
) -> None:
    run = start_plugin(Waits, pause_at=1)
    datahub.store.set_status(run.subtask_id, TaskStatus.RUNNING)
    clock.advance_until(lambda: run.status is TaskStatus.RUNNING, step=5)
    run.cancel()
    assert [status.name for status in run.wait().statuses] == [
        "RUNNING",
        "PAUSED",
        "RUNNING",
        "CANCELLED",
    ]


def test_a_time_limit(start_plugin: Start, clock: Clock) -> None:
    run = start_plugin(Waits, settings={"timeout_seconds": 3600}, pause_at=1)
    clock.advance(3599)
    assert run.status is TaskStatus.PAUSED
    clock.advance(1)
    assert run.wait().error == "the task took longer than 3600 s"


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_the_grace_of_a_cancel(start_plugin: Start, clock: Clock, isolation: str) -> None:
    run = start_plugin(Deaf, pause_at="deaf", isolation=isolation)
    run.resume()
    run.cancel()
    clock.advance(29)
    assert not run.ended
    clock.advance(1)
    clock.advance(1)
    assert run.wait().status is TaskStatus.CANCELLED


class Told:
    def __init__(self) -> None:
        self.seconds: list[float] = []

    @hookimpl
    def datahub_stalled(self, seconds: float) -> None:
        self.seconds.append(seconds)


def test_a_stall(start_plugin: Start, clock: Clock) -> None:
    told = Told()
    run = start_plugin(Deaf, pause_at="deaf", extensions=[told], settings={"stall_seconds": 600})
    run.resume()
    clock.advance_until(lambda: told.seconds, step=300)
    assert told.seconds[0] >= 600
    run.cancel()


def test_pauses_between_tries(start_plugin: Start, clock: Clock, datahub: LocalDatahub) -> None:
    with datahub.faults(fault="status", call="download_presign", status=503, count=12) as chaos:
        run = start_plugin(Lines, input=b"one\n")
        clock.advance_until(lambda: run.ended)
        assert chaos.as_json()["counters"][0]["injected"] == 12
    assert run.wait().status is TaskStatus.COMPLETED


def test_a_report_that_waits_for_datahub(
    start_plugin: Start, clock: Clock, datahub: LocalDatahub
) -> None:
    run = start_plugin(Lines, input=b"one\n", pause_at=1)
    with datahub.faults(fault="status", call="result", status=503):
        run._run.resume()  # Datahub does not hear of it
        clock.advance_until(lambda: run.ended, step=10)
    outcome = run.wait().outcome
    assert outcome is not None
    assert (outcome.delivered, outcome.exit_code) == (False, 75)


class Idle(DatahubPlugin):
    def process(self, ctx: TaskContext) -> dict[str, Any]:
        return {}


def test_it_stands_still_and_never_goes_back(run_plugin: Start, clock: Clock) -> None:
    assert run_plugin(Idle).heartbeats in ([], [0])
    assert (clock.now(), repr(clock)) == (0, "<Clock at 0 s>")
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)
    with pytest.raises(TimeoutError, match="did not come about: <Clock at "):
        clock.advance_until(lambda: False, timeout=0.05)


class Late(Clock):
    """Its waits time out just as what they wait for comes about."""

    def wait(self, wait: Callable[[float], Any], until: float) -> Any:
        found = wait(0.5)
        return super().wait(wait, until) if found is True or not found else found


def test_a_run_ends_though_its_wait_for_that_timed_out_just_then() -> None:
    with LocalDatahub(clock=Late()) as datahub:
        assert datahub.run(Idle, timeout=10).status is TaskStatus.COMPLETED


def test_waiting_by_it(clock: Clock) -> None:
    assert clock.wait(lambda _seconds: "found", 60) == "found"
    assert not clock.wait(lambda _seconds: "", 0)
    assert REAL.wait(lambda seconds: seconds, float("inf")) < float("inf")
    assert REAL.wait(lambda seconds: seconds, 0) == 0
