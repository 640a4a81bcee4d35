"""What a plugin reports, without the way over HTTP."""

from __future__ import annotations

import time

from plugin_framework.emulator import Store
from plugin_framework.protocol.models import Heartbeat, ResultReport, StatusUpdate, TaskStatus


def report(store: Store, subtask_id: str, status: TaskStatus | int) -> None:
    update = StatusUpdate(subtask_id=subtask_id, status=TaskStatus(status))
    store.reports.update_status(update, update.model_dump_json().encode())


def beat(store: Store, subtask_id: str, progress: int = 50) -> None:
    now = int(time.time())
    store.reports.heartbeat(Heartbeat(subtask_id=subtask_id, timestamp=now, process=progress))


def finish(store: Store, subtask_id: str) -> None:
    result = ResultReport(subtask_id=subtask_id, result={"total_counts": 1})
    store.reports.result(result, result.model_dump_json().encode())
