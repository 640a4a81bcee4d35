from __future__ import annotations

import threading
from typing import Any

from plugin_framework import TaskCancelled, TaskContext
from tests.testing.conformance.bad.lines import Lines


class Bad(Lines):
    """Takes a cancel for an error of the item at hand, and tries again."""

    def process(self, ctx: TaskContext[Any]) -> Any:
        while True:
            try:
                return super().process(ctx)
            except TaskCancelled:
                threading.Event().wait(0.1)
