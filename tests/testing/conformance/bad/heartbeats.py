from __future__ import annotations

import ctypes
import threading
from typing import Any, ClassVar, Literal

from plugin_framework import TaskContext
from tests.testing.conformance.bad.lines import Lines

HELD_SECONDS = 3
# A call through PyDLL keeps the interpreter's lock, as many an extension module does.
_C = ctypes.PyDLL(None)


class HoldsTheLock(Lines):
    """Holds the interpreter's lock, in a process of its own."""

    def process(self, ctx: TaskContext[Any]) -> Any:
        _C.sleep(HELD_SECONDS)
        return super().process(ctx)


class Bad(Lines):
    """Holds the interpreter's lock where it asks to be run: in the supervisor's process."""

    isolation: ClassVar[Literal["process", "thread"] | None] = "thread"

    def process(self, ctx: TaskContext[Any]) -> Any:
        if threading.current_thread() is not threading.main_thread():
            _C.sleep(HELD_SECONDS)
        return super().process(ctx)
