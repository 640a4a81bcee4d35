"""An extension: adds to each task's result how long the task took."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Mapping
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from plugin_framework import TaskContext, TaskResult, hookimpl

Result: TypeAlias = TaskResult | Mapping[str, Any] | None

FIELD = "timing"


class Timing:
    """Adds ``timing`` to the result: seconds of ``on_start`` and ``process``, and of processors.

    A result that has such a field already stays as it is.
    """

    def __init__(self) -> None:
        # In thread isolation tasks run side by side, and share this object.
        self._starts: WeakKeyDictionary[TaskContext, float] = WeakKeyDictionary()

    @hookimpl(wrapper=True)
    def on_start(self, ctx: TaskContext) -> Generator[None, None, None]:
        """Time the plugin's ``on_start``."""
        began = time.monotonic()
        yield
        self._starts[ctx] = time.monotonic() - began

    @hookimpl(wrapper=True)
    def process(self, ctx: TaskContext) -> Generator[None, Result, Result]:
        """Time the plugin's ``process``, and return its result with all that was timed."""
        began, used = time.monotonic(), processor_seconds()
        result = yield
        timing = {
            "on_start": self._starts.pop(ctx, 0.0),
            "process": time.monotonic() - began,
            "processor": processor_seconds() - used,
        }
        return with_field(result, {key: round(value, 3) for key, value in timing.items()})


def processor_seconds() -> float:
    """Of this process, and of the children that it has waited for."""
    return sum(os.times()[:4])


def with_field(result: Result, timing: Mapping[str, float]) -> Result:
    """The result, whatever its type, with ``timing`` in it."""
    if isinstance(result, Mapping):
        return {FIELD: timing, **result}
    result = result or TaskResult()
    if FIELD in (result.model_extra or {}):
        return result
    return result.model_copy(update={FIELD: timing})
