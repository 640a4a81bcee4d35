from __future__ import annotations

import subprocess
import sys
from typing import Any

from plugin_framework import TaskContext
from tests.testing.conformance.bad.lines import Lines

_SERVER = "import threading; threading.Event().wait(600)"


class Bad(Lines):
    """Starts a server of its own, and forgets about it."""

    def process(self, ctx: TaskContext[Any]) -> Any:
        subprocess.Popen([sys.executable, "-c", _SERVER])
        return super().process(ctx)
