"""Runs what ``async def`` hooks return, on one event loop for the whole task."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from plugin_framework.errors import TaskCancelled

if TYPE_CHECKING:
    from plugin_framework.plugin.context import Gate


class AsyncHooks:
    """Awaits results of hooks. What ``on_start`` opened on the loop still works in ``process``.

    A cancel of the task cancels the hook's coroutine, at whatever it awaits.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._runner: asyncio.Runner | None = None
        self._running: asyncio.Task[Any] | None = None
        gate.on_cancel(self._cancel_running)

    def settle(self, result: Any) -> Any:
        """The result itself, awaited if it has to be."""
        if not inspect.isawaitable(result):
            return result
        if self._runner is None:
            self._runner = asyncio.Runner()
        was_cancelled = self._gate.cancelled
        try:
            return self._runner.run(self._tracked(result))
        except asyncio.CancelledError:
            if self._gate.cancelled and not was_cancelled:
                raise TaskCancelled("the task was cancelled") from None
            raise

    def close(self) -> None:
        """Close the loop; what is still running on it is cancelled."""
        if self._runner is not None:
            self._runner.close()

    async def _tracked(self, awaitable: Awaitable[Any]) -> Any:
        self._running = asyncio.current_task()
        try:
            return await awaitable
        finally:
            self._running = None

    def _cancel_running(self) -> None:
        running = self._running
        if running is not None:
            running.get_loop().call_soon_threadsafe(running.cancel)
