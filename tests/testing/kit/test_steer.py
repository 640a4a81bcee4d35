"""Runs are paused, cancelled and killed, at a checkpoint or wherever they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from plugin_framework import TaskStatus
from plugin_framework.testing import LocalDatahub, TaskRun
from tests.testing.kit.plugins import AsyncLines, Deaf, Frozen, Hooks, Idle, Lines, Waits

RUNNING, PAUSED, COMPLETED = TaskStatus.RUNNING, TaskStatus.PAUSED, TaskStatus.COMPLETED
CANCELLED = TaskStatus.CANCELLED
Start = Callable[..., TaskRun]
THREE = b"one\ntwo\nthree\n"
both = pytest.mark.parametrize("isolation", ["thread", "process"])


def messages(run: TaskRun) -> list[str]:
    return [line.message for line in run.logs]


@both
def test_a_pause_before_it_starts_and_one_while_it_is_held(
    start_plugin: Start, isolation: str
) -> None:
    run = start_plugin(Lines, input=THREE, isolation=isolation, pause_at="after-download")
    assert (run.status, messages(run), repr(run)) == (PAUSED, [], "<TaskRun paused>")
    run.cancel(at=3)  # "after-download" is the first
    run.resume()
    run.wait()
    assert run.statuses == [RUNNING, PAUSED, RUNNING, CANCELLED]
    assert (messages(run), run.error, run.outputs) == (["line one"], None, {})


@both
def test_a_place_is_one_of_the_authors_checkpoints(start_plugin: Start, isolation: str) -> None:
    run = start_plugin(Hooks, isolation=isolation, pause_at="in-start", cancel_at=1)
    run.resume()
    run.wait()
    assert run.status is CANCELLED
    said = messages(run)
    assert said[0].startswith("start ")
    assert said[1:] == ["pause", "resume", "cancel"]


@both
def test_from_one_place_to_the_next(start_plugin: Start, isolation: str) -> None:
    run = start_plugin(Lines, input=THREE, isolation=isolation, pause_at="after-download")
    for place in (2, 4):
        run.pause(at=place)
    assert messages(run) == ["line one", "line two"]
    run.resume()
    assert run.wait().statuses == [RUNNING, PAUSED] * 3 + [RUNNING, COMPLETED]


@both
def test_wherever_it_is(start_plugin: Start, isolation: str) -> None:
    run = start_plugin(Waits, isolation=isolation)
    run.pause()
    assert run.status is PAUSED
    run.pause()
    run.resume()
    assert run.status is RUNNING
    run.cancel()
    assert run.wait().statuses == [RUNNING, PAUSED, RUNNING, CANCELLED]
    run.cancel()


def test_one_that_is_frozen(start_plugin: Start) -> None:
    run = start_plugin(Frozen, isolation="process", pause_at=2)
    run.resume()
    run.cancel()
    assert run.wait().statuses == [RUNNING, PAUSED, RUNNING, CANCELLED]


def test_an_async_plugin(start_plugin: Start) -> None:
    run = start_plugin(AsyncLines, pause_at="here")
    run.resume()
    assert run.wait().status is COMPLETED


@both
def test_places_that_it_does_not_come_to(start_plugin: Start, isolation: str) -> None:
    with pytest.raises(
        AssertionError,
        match=r"did not pause at the checkpoint 'no such' \(.*: 'after-download'\).*1 output",
    ):
        start_plugin(Lines, input=THREE, isolation=isolation, pause_at="no such")
    run = start_plugin(Lines, input=THREE, isolation=isolation, pause_at=3)
    with pytest.raises(ValueError, match="past the checkpoint 2"):
        run.pause(at=2)
    run.resume()
    assert run.wait().status is COMPLETED
    with pytest.raises(ValueError, match="not paused"):
        run.resume()
    with pytest.raises(AssertionError, match="did not pause"):
        run.pause()


@both
def test_an_order_for_a_place_that_it_does_not_come_to(start_plugin: Start, isolation: str) -> None:
    run = start_plugin(Lines, input=THREE, isolation=isolation, cancel_at="nowhere")
    for _ in range(2):
        with pytest.raises(
            AssertionError,
            match=r"^the run ended, and did not come to the checkpoint 'nowhere', where it was to"
            r" be cancelled \(the named checkpoints it came to: 'after-download'\): <TaskRun compl",
        ):
            run.wait()
    run = start_plugin(Hooks, isolation=isolation, pause_at="work")
    run.cancel(at="work")
    run.resume()
    with pytest.raises(AssertionError, match=r"'work' once more, .*: 'in-start', 'work'\)"):
        run.wait()
    with pytest.raises(ValueError, match=r"only what was killed .*: 'in-start', 'work'\)"):
        run.rerun()


def test_a_kill_at_a_place_that_it_does_not_come_to(datahub: LocalDatahub) -> None:
    with pytest.raises(AssertionError, match=r"checkpoint 9, where it was to be killed \(.*none\)"):
        datahub.run(Idle, isolation="process", kill_at=9)
    run = datahub.start(Waits, cancel_at="nowhere")
    run.cancel()
    assert run.wait().status is CANCELLED


def test_one_that_comes_to_no_checkpoint(start_plugin: Start) -> None:
    run = start_plugin(Deaf, timeout=1, pause_at="deaf")
    run.resume()
    with pytest.raises(TimeoutError, match="did not pause within"):
        run.pause()


def test_a_kill_and_what_was_kept(start_plugin: Start) -> None:
    first = start_plugin(Lines, input=THREE, isolation="process", kill_at=3)
    first.wait()
    assert (first.status, first.statuses, messages(first)) == (RUNNING, [RUNNING], ["line one"])
    assert (repr(first), first.error) == ("<TaskRun running, killed>", None)
    again = first.rerun(pause_at=1)
    again.kill()
    last = again.rerun().wait()
    assert (last.attempt, last.statuses, messages(last)) == (
        3,
        [RUNNING, COMPLETED],
        ["line two", "line three"],
    )
    with pytest.raises(ValueError, match="only what was killed"):
        last.rerun()


def test_a_thread_is_not_killed(start_plugin: Start) -> None:
    with pytest.raises(ValueError, match="isolation='process'"):
        start_plugin(Waits, kill_at=1)
    with pytest.raises(ValueError, match="isolation='process'"):
        start_plugin(Waits).kill()


def test_in_a_coroutine(datahub: LocalDatahub) -> None:
    async def steer() -> TaskRun:
        run = await asyncio.to_thread(datahub.start, Lines, input=THREE, pause_at=1)
        await asyncio.to_thread(run.resume)
        return await run.wait_async()

    assert asyncio.run(steer()).status is COMPLETED
