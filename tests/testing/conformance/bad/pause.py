from __future__ import annotations

import threading
from typing import Any

from plugin_framework import TaskContext
from tests.testing.conformance.bad.lines import Lines


class Bad(Lines):
    """Has a thread that works on while the task is paused."""

    def process(self, ctx: TaskContext[Any]) -> Any:
        over = threading.Event()
        worker = threading.Thread(target=self._work, args=(ctx, over))
        worker.start()
        try:
            return super().process(ctx)
        finally:
            over.set()
            worker.join()

    def _work(self, ctx: TaskContext[Any], over: threading.Event) -> None:
        with (ctx.work_dir / "notes").open("a") as notes:
            while not over.wait(0.01):
                notes.write("on and on\n")
                notes.flush()
