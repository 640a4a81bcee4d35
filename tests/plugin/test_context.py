"""Progress, pause, cancel, state, and the input as a file."""

from __future__ import annotations

import io
import logging
import math
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugin_framework import TaskCancelled, TaskContext
from plugin_framework.errors import InvalidResultError
from plugin_framework.isolation.session import STATE_LIMIT, _CheckedHost
from plugin_framework.plugin import context
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
    return TaskContext(facts(folder), None, host=_CheckedHost(host), gate=gate, log=log)


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
    with pytest.raises(InvalidResultError, match="the saved state"):
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


DATA = bytes(range(256)) * 20
OPERATION = st.one_of(
    st.tuples(st.just("read"), st.integers(-1, 6000)),
    st.tuples(st.just("readinto"), st.integers(0, 600)),
    st.tuples(st.just("readline"), st.integers(-1, 300)),
    st.tuples(st.just("peek_then_tell"), st.just(0)),
    st.tuples(st.just("seek"), st.tuples(st.integers(-6000, 6000), st.sampled_from([0, 1, 2]))),
)


def do(file: io.BufferedReader, name: str, argument: Any) -> object:
    try:
        if name == "seek":
            return file.seek(*argument), file.tell()
        if name == "peek_then_tell":
            return bool(file.peek()), file.tell()
        if name == "readinto":
            buffer = bytearray(argument)
            return file.readinto(buffer), bytes(buffer), file.tell()
        return getattr(file, name)(argument), file.tell()
    except OSError as error:
        return error.errno


@settings(max_examples=150, deadline=None)
@given(operations=st.lists(OPERATION, max_size=12), limit=st.integers(1, 6000))
def test_the_input_is_like_a_plain_file(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, Any]], limit: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "plain"
    ctx = make(RecordingHost(DATA), Gate(), folder)
    (folder / "file").write_bytes(DATA)
    with pytest.MonkeyPatch.context() as patch, (folder / "file").open("rb") as plain:
        patch.setattr(context, "BLOCK_LIMIT", limit)
        patch.setattr(context, "READ_AHEAD", 64)
        with ctx.open_input() as file:
            for name, argument in operations:
                assert do(file, name, argument) == do(plain, name, argument)


def test_a_large_read_is_asked_for_in_blocks(
    host: RecordingHost, ctx: TaskContext[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "BLOCK_LIMIT", 1000)
    host.data = DATA
    for size in (-1, len(DATA)):
        host.reads.clear()
        with ctx.open_input() as file:
            assert file.read(size) == DATA
        assert max(size for _, size in host.reads) == 1000


def test_what_is_no_zip_file_is_said_to_be_none(ctx: TaskContext[Any], host: RecordingHost) -> None:
    host.data = b"short"
    with ctx.open_input() as file, pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(file)


def test_little_is_fetched_for_little(ctx: TaskContext[Any], host: RecordingHost) -> None:
    host.data = bytes(10 * context.READ_AHEAD)
    with ctx.open_input() as file:
        file.seek(-10, io.SEEK_END)
        assert file.read() == bytes(10)
    assert sum(size for _, size in host.reads) <= context.READ_AHEAD
