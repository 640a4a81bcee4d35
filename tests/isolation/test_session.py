"""The order of the hooks, whatever happens, and the same for def and async def."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from plugin_framework import DatahubPlugin, PluginConfig, PluginError, TaskCancelled, TaskContext
from plugin_framework.errors import JournalError
from plugin_framework.isolation.session import run_hooks
from plugin_framework.isolation.thread import ThreadIsolation
from plugin_framework.plugin.context import Gate
from plugin_framework.plugin.loader import ref_of
from plugin_framework.protocol.models import TaskStatus
from tests.isolation.recording_host import DEADLINE, RecordingHost, facts


class Recorder(DatahubPlugin):
    calls: list[str]
    gate: Gate
    deeds: Mapping[str, Callable[[TaskContext[Any]], Any]]

    def note(self, hook: str, ctx: TaskContext[Any]) -> Any:
        self.calls.append(hook)
        return self.deeds[hook](ctx) if hook in self.deeds else None

    def on_start(self, ctx: TaskContext[Any]) -> None:
        self.note("on_start", ctx)

    def process(self, ctx: TaskContext[Any]) -> Any:
        return self.note("process", ctx)

    def on_pause(self, ctx: TaskContext[Any]) -> None:
        self.note("on_pause", ctx)

    def on_resume(self, ctx: TaskContext[Any]) -> None:
        self.note("on_resume", ctx)

    def on_cancel(self, ctx: TaskContext[Any]) -> None:
        self.note("on_cancel", ctx)

    def on_success(self, ctx: TaskContext[Any], result: Any) -> None:
        self.note(f"on_success {type(result).__name__}", ctx)

    def on_failure(self, ctx: TaskContext[Any], error: BaseException) -> None:
        self.note(f"on_failure {error!r}", ctx)

    def on_finish(self, ctx: TaskContext[Any], status: TaskStatus) -> None:
        self.note(f"on_finish {status.name}", ctx)


class AsyncRecorder(Recorder):
    """The same hooks, each awaiting, and noting its loop."""

    loops: set[asyncio.AbstractEventLoop]

    async def anote(self, hook: str, ctx: TaskContext[Any]) -> Any:
        await asyncio.sleep(0)
        self.loops.add(asyncio.get_running_loop())
        return self.note(hook, ctx)

    async def on_start(self, ctx: TaskContext[Any]) -> None:  # type: ignore[override]  # async
        await self.anote("on_start", ctx)

    async def process(self, ctx: TaskContext[Any]) -> Any:
        return await self.anote("process", ctx)

    async def on_cancel(self, ctx: TaskContext[Any]) -> None:  # type: ignore[override]  # async
        await self.anote("on_cancel", ctx)

    async def on_finish(  # type: ignore[override]  # async
        self, ctx: TaskContext[Any], status: TaskStatus
    ) -> None:
        await self.anote(f"on_finish {status.name}", ctx)


class Session:
    def __init__(self, base: type[Recorder], folder: Path) -> None:
        self.calls: list[str] = []
        self.loops: set[asyncio.AbstractEventLoop] = set()
        self.gate = Gate()
        self.host = RecordingHost()
        self._base = base
        self._folder = folder

    def run(self, extensions: Mapping[str, object] | None = None, **deeds: Any) -> list[str]:
        names = {"calls": self.calls, "loops": self.loops, "gate": self.gate, "deeds": deeds}
        run_hooks(
            type("Plugin", (self._base,), names),
            facts(self._folder),
            host=self.host,
            gate=self.gate,
            log=logging.getLogger("test"),
            extensions=extensions or {},
        )
        return self.calls


@pytest.fixture(params=[Recorder, AsyncRecorder])
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Session:
    return Session(request.param, tmp_path)


@pytest.fixture
def plain(tmp_path: Path) -> Session:
    return Session(Recorder, tmp_path)


@pytest.fixture
def awaiting(tmp_path: Path) -> Session:
    return Session(AsyncRecorder, tmp_path)


def raising(error: BaseException) -> Callable[[Any], Any]:
    def do(_: Any) -> Any:
        raise error

    return do


def test_success(session: Session) -> None:
    assert session.run() == ["on_start", "process", "on_success TaskResult", "on_finish COMPLETED"]
    assert session.host.ending.result == {
        "total_counts": 0,
        "success_counts": 0,
        "failed_counts": 0,
    }


def test_a_mapping_is_handed_on_as_it_stands(session: Session) -> None:
    calls = session.run(process=lambda _: {"a": 1})
    assert calls[2] == "on_success dict"
    assert session.host.ending.result == {"a": 1}


@pytest.mark.parametrize("error", [PluginError("bad"), SystemExit("bad"), GeneratorExit("bad")])
def test_failure(session: Session, error: BaseException) -> None:
    calls = session.run(process=raising(error))
    assert calls == ["on_start", "process", f"on_failure {error!r}", "on_finish FAILED"]


def test_a_failure_in_on_start_is_the_tasks(session: Session) -> None:
    calls = session.run(on_start=raising(ValueError("x")))
    assert calls == ["on_start", "on_failure ValueError('x')", "on_finish FAILED"]


def test_cancel(session: Session) -> None:
    def cancelled(ctx: TaskContext[Any]) -> None:
        session.gate.cancel()
        ctx.checkpoint()

    calls = session.run(process=cancelled)
    assert calls == ["on_start", "process", "on_cancel", "on_finish CANCELLED"]


def test_a_stop_that_is_a_failure_is_no_cancel(session: Session) -> None:
    def stopped(ctx: TaskContext[Any]) -> None:
        session.gate.fail()
        ctx.checkpoint()

    session.host.judge = lambda _ending: TaskStatus.FAILED
    calls = session.run(process=stopped)
    assert calls[2:] == ["on_failure PluginError('the task failed')", "on_finish FAILED"]


def test_a_cancel_that_nobody_asked_for_is_a_failure(session: Session) -> None:
    calls = session.run(process=raising(TaskCancelled("mine")))
    assert calls[2:] == ["on_failure TaskCancelled('mine')", "on_finish FAILED"]
    assert "nobody cancelled" in str(session.host.ending.error)


def test_a_cancel_before_the_work_keeps_it_from_starting(session: Session) -> None:
    calls = session.run(on_start=lambda _: session.gate.cancel())
    assert calls == ["on_start", "on_cancel", "on_finish CANCELLED"]


def test_hooks_after_the_work_change_nothing(session: Session) -> None:
    late: dict[str, Any] = {
        "on_success TaskResult": raising(ValueError("late")),
        "on_finish COMPLETED": raising(SystemExit(1)),
    }
    calls = session.run(**late)
    assert calls[2:] == ["on_success TaskResult", "on_finish COMPLETED"]


def test_on_finish_comes_even_when_the_ending_is_lost(session: Session) -> None:
    session.host.error = JournalError("disk full")
    with pytest.raises(JournalError):
        session.run()
    assert session.calls[2:] == ["on_finish RUNNING"]


def test_a_pause_holds_and_a_resume_goes_on(session: Session) -> None:
    def paused(ctx: TaskContext[Any]) -> None:
        session.gate.pause()
        helper = threading.Thread(target=resume)
        helper.start()
        ctx.checkpoint()
        helper.join()

    def resume() -> None:
        assert session.host.held.wait(DEADLINE)
        session.gate.resume()

    calls = session.run(process=paused, on_pause=lambda ctx: ctx.checkpoint())
    assert calls[1:4] == ["process", "on_pause", "on_resume"]
    assert session.host.confirmed == [TaskStatus.PAUSED, TaskStatus.RUNNING]


def test_async_hooks_share_one_loop(awaiting: Session) -> None:
    awaiting.run()
    assert len(awaiting.loops) == 1
    assert all(loop.is_closed() for loop in awaiting.loops)


class Waiting(AsyncRecorder):
    async def process(self, ctx: TaskContext[Any]) -> Any:
        asyncio.get_running_loop().call_soon(self.gate.cancel)
        try:
            await asyncio.Event().wait()
        finally:
            self.calls.append("unwound")


def test_a_cancel_reaches_what_is_awaited(tmp_path: Path) -> None:
    session = Session(Waiting, tmp_path)
    assert session.run() == ["on_start", "unwound", "on_cancel", "on_finish CANCELLED"]


class Grouped(AsyncRecorder):
    async def process(self, ctx: TaskContext[Any]) -> Any:
        async def child() -> None:
            self.gate.cancel()
            ctx.checkpoint()

        async with asyncio.TaskGroup() as group:
            group.create_task(child())


def test_a_cancel_within_a_task_group_is_a_cancel(tmp_path: Path) -> None:
    session = Session(Grouped, tmp_path)
    assert session.run() == ["on_start", "on_cancel", "on_finish CANCELLED"]


class PausedInLoop(AsyncRecorder):
    async def process(self, ctx: TaskContext[Any]) -> Any:
        self.gate.pause()
        ctx.checkpoint()

    async def on_pause(self, ctx: TaskContext[Any]) -> None:  # type: ignore[override]  # async
        await asyncio.sleep(0)
        ctx.upload("/somewhere")
        self.calls.append("on_pause")
        self.gate.resume()


def test_an_async_pause_hook_runs_while_process_holds_the_loop(tmp_path: Path) -> None:
    session = Session(PausedInLoop, tmp_path)
    assert session.run()[1:3] == ["on_pause", "on_resume"]


def test_an_author_who_cancels_a_coroutine_has_failed(plain: Session) -> None:
    plain.run(process=raising(asyncio.CancelledError()))
    assert plain.host.ending.error == "CancelledError"


class Strict(DatahubPlugin):
    class Config(PluginConfig):
        count: int

    def process(self, ctx: TaskContext[Any]) -> None:
        """Never called."""


def test_a_config_that_is_wrong_fails_the_task(tmp_path: Path) -> None:
    host = RecordingHost()
    isolation = ThreadIsolation(ref_of(Strict), Strict)
    isolation.start(facts(tmp_path, {"count": "x"}), host, host.exited)
    host.wait()
    assert host.ending.kind == "failed"
    assert str(host.ending.error).startswith("config count: ")


class Held(DatahubPlugin):
    def process(self, ctx: TaskContext[Any]) -> None:
        ctx.progress(1)
        while True:
            ctx.checkpoint()


def test_a_thread_is_cancelled_and_reports(tmp_path: Path) -> None:
    host = RecordingHost()
    worker = ThreadIsolation(ref_of(Held), Held).start(facts(tmp_path), host, host.exited)
    assert host.moved.wait(DEADLINE)
    worker.signal("pause")
    assert host.held.wait(DEADLINE)
    worker.signal("cancel")
    host.wait()
    assert host.ending.kind == "cancelled"


class Stuck(DatahubPlugin):
    release = threading.Event()

    def process(self, ctx: TaskContext[Any]) -> None:
        ctx.progress(1)
        self.release.wait()


def test_a_thread_that_hangs_is_left_behind(tmp_path: Path) -> None:
    host = RecordingHost()
    worker = ThreadIsolation(ref_of(Stuck), Stuck).start(facts(tmp_path), host, host.exited)
    assert host.moved.wait(DEADLINE)
    worker.terminate()
    worker.kill()
    host.wait()
    assert host.endings == []
    Stuck.release.set()


def test_an_ending_that_cannot_be_kept_still_ends_the_thread(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = RecordingHost()
    host.error = JournalError("disk full")
    ThreadIsolation(ref_of(Stuck), Recorder).start(facts(tmp_path), host, host.exited)
    host.wait()
    assert "broke off" in caplog.text
