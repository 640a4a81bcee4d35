"""Progress, pause, cancel, state, and the input as a file."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plugin_framework import TaskCancelled, TaskContext
from plugin_framework.errors import InvalidResultError
from plugin_framework.isolation.session import STATE_LIMIT, CheckedHost
from plugin_framework.plugin.context import Gate
from plugin_framework.protocol.models import TaskStatus
from tests.isolation.recording_host import DEADLINE, RecordingHost, facts


@pytest.fixture
def host() -> RecordingHost:
    return RecordingHost()


@pytest.fixture
def gate() -> Gate:
    return Gate()


def make(host: RecordingHost, gate: Gate, folder: Path) -> TaskContext[Any]:
    log = logging.getLogger("test")
    return TaskContext(facts(folder), None, host=CheckedHost(host), gate=gate, log=log)


@pytest.fixture
def ctx(host: RecordingHost, gate: Gate, tmp_path: Path) -> TaskContext[Any]:
    return make(host, gate, tmp_path)


def test_progress_is_clamped_and_thinned(ctx: TaskContext[Any], host: RecordingHost) -> None:
    for percent in (-5, 0.5, 1.2, 1.9, 99.8, 250, math.inf):
        ctx.progress(percent)
    assert host.percents == [0, 1.2, 99.8, 100]
    with pytest.raises(ValueError, match="not NaN"):
        ctx.progress(math.nan)


@pytest.mark.parametrize(
    ("items", "total", "percents"),
    [
        ([1, 2, 3, 4], None, [25, 50, 75, 100]),
        (iter([1, 2]), None, []),
        (iter([1, 2]), 4, [25, 50]),
        ([1, 2], 1, [100]),
        ([], None, []),
        ([1], 0, []),
    ],
)
def test_track_reports_what_it_can(
    ctx: TaskContext[Any], host: RecordingHost, items: Any, total: int | None, percents: list[int]
) -> None:
    expected = list(items) if isinstance(items, list) else [1, 2]
    assert list(ctx.track(items, total)) == expected
    assert host.percents == percents


def test_track_stops_at_a_cancel_and_closes_what_it_iterates(
    ctx: TaskContext[Any], gate: Gate
) -> None:
    closed = []

    def numbers() -> Iterator[int]:
        try:
            yield from range(10)
        finally:
            closed.append(True)

    tracked = ctx.track(numbers())
    assert next(tracked) == 0
    gate.cancel()
    with pytest.raises(TaskCancelled):
        next(tracked)
    del tracked
    assert closed == [True]


def test_all_threads_are_held_and_the_pause_is_told_once(
    ctx: TaskContext[Any], host: RecordingHost, gate: Gate
) -> None:
    gate.pause()
    threads = [threading.Thread(target=ctx.checkpoint) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert host.held.wait(DEADLINE)
    assert ctx.paused
    assert all(thread.is_alive() for thread in threads)
    gate.resume()
    for thread in threads:
        thread.join(DEADLINE)
    assert host.confirmed == [TaskStatus.PAUSED, TaskStatus.RUNNING]


def test_a_cancel_frees_every_held_thread(
    ctx: TaskContext[Any], host: RecordingHost, gate: Gate
) -> None:
    raised = []

    def checkpoint() -> None:
        try:
            ctx.checkpoint()
        except TaskCancelled as error:
            raised.append(error)

    gate.pause()
    threads = [threading.Thread(target=checkpoint) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert host.held.wait(DEADLINE)
    gate.cancel()
    for thread in threads:
        thread.join(DEADLINE)
    assert len(raised) == 4
    assert host.confirmed == [TaskStatus.PAUSED]
    assert ctx.cancelled


@pytest.mark.parametrize(
    "call",
    [
        lambda ctx: ctx.checkpoint(),
        lambda ctx: ctx.download(),
        lambda ctx: ctx.upload("x"),
        lambda ctx: ctx.open_input(),
        lambda ctx: ctx.run(["true"]),
        lambda ctx: list(ctx.track([1])),
    ],
)
def test_a_cancelled_task_gets_no_further(
    ctx: TaskContext[Any], gate: Gate, call: Callable[[Any], Any]
) -> None:
    gate.pause()
    gate.cancel()
    with pytest.raises(TaskCancelled):
        call(ctx)


def test_on_cancel_is_called_once_and_only_meanwhile(gate: Gate) -> None:
    calls: list[str] = []
    with gate.on_cancel(lambda: calls.append("early")):
        pass
    with gate.on_cancel(lambda: calls.append("meanwhile")):
        gate.cancel()
    with gate.on_cancel(lambda: calls.append("late")):
        pass
    assert calls == ["meanwhile", "late"]


def test_state_is_replaced_and_changed(ctx: TaskContext[Any], host: RecordingHost) -> None:
    ctx.save_state({"a": 1}, b=2)
    ctx.save_state(a=3)
    ctx.save_state({"c": 1})
    ctx.save_state()
    assert host.states == [{"a": 1, "b": 2}, {"a": 3, "b": 2}, {"c": 1}, {"c": 1}]
    assert ctx.state == {"c": 1}


@pytest.mark.parametrize("value", [object(), math.nan, "\ud800", "x" * STATE_LIMIT])
def test_a_state_that_cannot_be_saved_changes_nothing(
    ctx: TaskContext[Any], host: RecordingHost, value: object
) -> None:
    ctx.save_state(good=1)
    with pytest.raises(InvalidResultError, match=r"the saved state (is not JSON at bad: |takes)"):
        ctx.save_state(bad=value)
    assert ctx.state == {"good": 1}
    assert host.states == [{"good": 1}]


def test_threads_lose_no_state(ctx: TaskContext[Any]) -> None:
    def save(name: str) -> None:
        for number in range(20):
            ctx.save_state(**{f"{name}-{number}": 1})

    threads = [threading.Thread(target=save, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ctx.state) == 80
