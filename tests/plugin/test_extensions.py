"""Extensions observe, wrap and replace; what goes wrong in them changes nothing."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Generator
from typing import Any

import pytest

from plugin_framework import DatahubPlugin, TaskCancelled, TaskContext, hookimpl
from plugin_framework.plugin.async_hooks import AsyncHooks
from plugin_framework.plugin.context import Gate
from plugin_framework.plugin.manager import observer_manager, task_manager

Hook = Callable[..., Any]


class Plugin(DatahubPlugin):
    raises: BaseException | None = None

    def process(self, ctx: TaskContext[Any]) -> Any:
        if self.raises is not None:
            raise self.raises
        return {"real": True}


def run(*, raises: BaseException | None = None, **hooks: Any) -> Any:
    plugin = Plugin()
    plugin.raises = raises
    extension = type("Extension", (), {name: staticmethod(hook) for name, hook in hooks.items()})
    async_hooks = AsyncHooks(Gate())
    manager = task_manager(plugin, {"Plugin": extension()}, async_hooks)
    try:
        return manager.hook.process(ctx=None)
    finally:
        async_hooks.close()


def wrapper(function: Hook) -> Hook:
    return hookimpl(wrapper=True)(function)


def test_a_wrapper_sees_and_replaces_the_result() -> None:
    @wrapper
    def process(ctx: Any) -> Generator[None, Any, Any]:
        result = yield
        return {**result, "more": 1}

    assert run(process=process) == {"real": True, "more": 1}


def test_a_hook_observes() -> None:
    seen = []

    @hookimpl
    def process(ctx: Any) -> None:
        seen.append(ctx)

    assert run(process=process) == {"real": True}
    assert seen == [None]


def test_an_async_hook_is_awaited() -> None:
    seen = []

    @hookimpl
    async def process(ctx: Any) -> None:
        seen.append(ctx)

    assert run(process=process) == {"real": True}
    assert seen == [None]


def raise_(error: BaseException) -> None:
    raise error


class Own(BaseException):
    pass


ERRORS = [ValueError("x"), Own("x"), SystemExit(1), TaskCancelled("x"), KeyboardInterrupt()]


def before(error: BaseException) -> Hook:
    def process(ctx: Any) -> Generator[None, Any, Any]:
        raise_(error)
        yield

    return process


def after(error: BaseException) -> Hook:
    def process(ctx: Any) -> Generator[None, Any, Any]:
        try:
            yield
        finally:
            raise_(error)

    return process


def no_generator(error: BaseException) -> Hook:
    def process(ctx: Any) -> Any:
        raise error

    return process


def swallows(_: BaseException) -> Hook:
    def process(ctx: Any) -> Generator[None, Any, Any]:
        try:
            yield
        except BaseException:  # noqa: BLE001 - the point
            return {"replaced": True}

    return process


def returns_nothing(_: BaseException) -> Hook:
    def process(ctx: Any) -> Generator[None, Any, Any]:
        yield

    return process


def yields_twice(_: BaseException) -> Hook:
    def process(ctx: Any) -> Generator[None, Any, Any]:
        yield
        yield

    return process


def swallows_and_yields_again(_: BaseException) -> Hook:
    def process(ctx: Any) -> Generator[None, Any, Any]:
        for _ in range(2):
            try:
                yield
            except BaseException:  # noqa: BLE001 - the point
                continue

    return process


def never_yields(_: BaseException) -> Hook:
    def process(ctx: Any) -> Generator[None, Any, Any]:
        if ctx:
            yield
        return {"replaced": True}

    return process


WRONG = [
    before,
    after,
    no_generator,
    swallows,
    returns_nothing,
    yields_twice,
    swallows_and_yields_again,
    never_yields,
]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("make", WRONG)
def test_a_wrapper_that_goes_wrong_changes_nothing(
    make: Callable[[BaseException], Hook], error: BaseException
) -> None:
    process = wrapper(make(error))
    assert run(process=process) == {"real": True}
    for raised in (ValueError("real"), TaskCancelled("real"), Own("real")):
        with pytest.raises(type(raised)) as caught:
            run(raises=raised, process=process)
        assert caught.value is raised


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_hook_that_goes_wrong_changes_nothing(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(process=hookimpl(no_generator(error))) == {"real": True}
    assert "extension Plugin.process failed" in caplog.text


def test_a_failure_keeps_its_own_traceback() -> None:
    with pytest.raises(ValueError, match="real") as caught:
        run(raises=ValueError("real"), process=wrapper(returns_nothing(Own())))
    names = [entry.name for entry in caught.traceback]
    assert names[-1] == "process"
    assert names.count("_finished") == 0


def unusable(kind: str) -> Hook:
    def process(context: Any) -> Generator[None, Any, Any]:
        yield

    if kind == "old wrapper":
        return hookimpl(hookwrapper=True)(process)
    return wrapper(process) if kind == "wrapper" else hookimpl(inspect.unwrap(process))


@pytest.mark.parametrize("kind", ["old wrapper", "wrapper", "plain"])
def test_an_extension_that_cannot_be_used_is_left_out(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    assert run(process=unusable(kind)) == {"real": True}
    assert "extension Plugin is left out" in caplog.text


class Observing:
    def __init__(self) -> None:
        self.seen: list[int] = []

    @hookimpl
    def datahub_progress(self, subtask_id: str, percent: int) -> None:
        self.seen.append(percent)


class Failing:
    @hookimpl
    def datahub_progress(self, percent: int) -> None:
        raise Own


class Awaiting:
    @hookimpl
    async def datahub_progress(self, percent: int) -> None:
        """Nobody would await it."""


class Misnamed:
    @hookimpl
    def datahub_progress(self, per_cent: int) -> None:
        """Is given no such thing."""


def test_observers_cannot_disturb_one_another(caplog: pytest.LogCaptureFixture) -> None:
    observing = Observing()
    others = {"a": Failing(), "b": Awaiting(), "c": Misnamed()}
    manager = observer_manager({"o": observing, **others})
    manager.hook.datahub_progress(subtask_id="s", percent=7)
    assert observing.seen == [7]
    for label in ("a.datahub_progress failed", "b is left out", "c is left out"):
        assert f"extension {label}" in caplog.text


def test_any_number_of_extensions_may_have_nothing_to_do_here(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Those that only observe have no hooks of tasks."""
    async_hooks = AsyncHooks(Gate())
    manager = task_manager(Plugin(), {"one": object(), "other": object()}, async_hooks)
    assert manager.hook.process(ctx=None) == {"real": True}
    assert caplog.messages == []
