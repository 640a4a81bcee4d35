"""Runs what ``async def`` hooks return, on one event loop for the whole task."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Iterable
from concurrent.futures import Future
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from plugin_framework.errors import TaskCancelled

if TYPE_CHECKING:
    from plugin_framework.plugin.context import Gate


class AsyncHooks:
    """Awaits results of hooks. What ``on_start`` opened on the loop still works in ``process``.

    A cancel of the task cancels the hook's coroutine, at whatever it awaits, until the work is
    over: the hooks that clean up are left alone.
    """

    def __init__(self, gate: Gate) -> None:
        self.work_is_over = False
        self._gate = gate
        self._runner: asyncio.Runner | None = None
        self._known = contextvars.Context()

    def settle(self, result: Any) -> Any:
        """The result itself, awaited if it has to be."""
        if not inspect.isawaitable(result):
            return result
        if self._runner is None:
            self._runner = asyncio.Runner()
        try:
            if self._runner.get_loop().is_running():
                # A checkpoint within an async hook, which holds the loop: this is a pause hook.
                return _run_aside(self._cancellable(result))
            return self._runner.run(self._cancellable(result, self._news()))
        except asyncio.CancelledError:
            if self._gate.cancelled and not self.work_is_over:
                raise TaskCancelled("the task was cancelled") from None
            raise

    def close(self) -> None:
        """Close the loop; what is still running on it is cancelled."""
        if self._runner is not None:
            self._runner.close()

    def _news(self) -> list[tuple[contextvars.ContextVar[Any], Any]]:
        """What the caller's context has become since the last hook: the loop keeps one of its own.

        Of an extension around the hook, above all.
        """
        before, self._known = self._known, contextvars.copy_context()
        return [(var, value) for var, value in self._known.items() if before.get(var) is not value]

    async def _cancellable(
        self,
        awaitable: Awaitable[Any],
        news: Iterable[tuple[contextvars.ContextVar[Any], Any]] = (),
    ) -> Any:
        for var, value in news:
            var.set(value)
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def cancel() -> None:
            loop.call_soon_threadsafe(task.cancel)

        with nullcontext() if self.work_is_over else self._gate.on_cancel(cancel):
            return await awaitable


def _run_aside(coroutine: Any) -> Any:
    """Run a coroutine to its end on a loop and a thread of its own, and wait for it."""
    context = contextvars.copy_context()
    done: Future[Any] = Future()

    def run() -> None:
        try:
            done.set_result(context.run(asyncio.run, coroutine))
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            done.set_exception(error)

    threading.Thread(target=run, daemon=True, name="pause-hook").start()
    return done.result()
