"""A program: a machine whose subtasks only take their time, and which says what comes to it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any

from plugin_framework.engines.celery.app import make_app
from plugin_framework.engines.celery.broker import Broker
from plugin_framework.engines.celery.machine import Machine
from plugin_framework.engines.celery.queues import queue_of
from plugin_framework.settings import load_settings


def main(name: str, slots: int, queues: list[str]) -> int:
    draining, told = threading.Event(), threading.Event()

    def run(fields: Mapping[str, Any], _: object) -> None:
        say("began", fields["subtask_id"])
        told.wait(fields["config"]["seconds"])
        say("ended", fields["subtask_id"])

    def drain() -> None:
        told.wait()
        draining.set()
        machine.stop_consuming()
        machine.end()

    settings = load_settings()
    machine = Machine(
        make_app(settings, [queue_of(queue) for queue in queues], name=name),
        name,
        queues,
        Broker(settings),
        slots=slots,
        run=run,
        manage=lambda fields: say("told", fields["subtask_id"]),
        draining=draining,
        refused=lambda _error: False,
        ready=lambda: say("ready", ""),
    )
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    threading.Thread(target=drain, daemon=True).start()
    machine.start()
    return int(machine.exitcode or 0)


def say(what: str, subtask_id: str) -> None:
    os.write(1, f"{what} {subtask_id}\n".encode())  # whole lines, whichever thread it is


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
