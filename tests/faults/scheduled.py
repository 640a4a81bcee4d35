"""A run of which a test decides, step by step, what happens next: no clock, no network, no luck."""

from __future__ import annotations

import json
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from plugin_framework.errors import ConnectionFailedError, RejectedError, ServerUnavailableError
from plugin_framework.isolation.worker_exit import WorkerExit
from plugin_framework.lifecycle.heartbeat import Tick
from plugin_framework.lifecycle.reporter import Delivery, Reporter
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.transfer.engine import EngineOptions
from tests.strict_rules import COMPLETED, INITIAL, LEGAL, TERMINAL

WEATHER = ("crash before", "lost request", "up", "down", "busy", "lost answer", "crash after")
"""What may become of one call, in the order of how far it gets."""


class Crash(BaseException):
    """The supervisor is killed here."""


class Datahub:
    """What a client is to a run, and the Datahub behind it: one subtask, in memory.

    ``weather`` is for the next calls, one each; after that all fail while ``down``. ``on_crash`` is
    called when a call kills the supervisor.
    """

    def __init__(self, on_crash: Callable[[], None]) -> None:
        self.weather: deque[str] = deque()
        self.down = False
        self.statuses: list[int] = []
        self.asked: int | None = None
        self.ending: bytes | None = None
        self.repeats = 0
        self.violations: list[str] = []
        self._on_crash = on_crash

    @property
    def reported(self) -> int:
        return self.statuses[-1] if self.statuses else INITIAL

    def post(self, path: str, body: bytes, **_: Any) -> None:
        status = COMPLETED if path.endswith("/result") else json.loads(body)["status"]
        self._call(lambda: self._apply(status, body))

    def heartbeat(self, subtask_id: str, percent: int, **_: Any) -> None:
        self._call(lambda: self._forbid("a heartbeat after the end" if self.ending else None))

    def notify(self, task_id: str, **_: Any) -> TaskStatus:
        return TaskStatus(self._call(lambda: self.asked or self.reported))

    def _call(self, effect: Callable[[], Any]) -> Any:
        weather = self.weather.popleft() if self.weather else "down" if self.down else "up"
        if weather == "crash before":
            self._crash()
        if weather == "down":
            raise ConnectionFailedError("refused")
        if weather == "busy":
            raise ServerUnavailableError("503")
        if weather == "lost request":
            raise ConnectionFailedError("reset", unknown_outcome=True)
        answer = effect()
        if weather == "crash after":
            self._crash()
        if weather == "lost answer":
            raise ConnectionFailedError("reset", unknown_outcome=True)
        return answer

    def _crash(self) -> None:
        self._on_crash()
        raise Crash

    def _apply(self, status: int, body: bytes) -> None:
        if self.ending is not None:
            self._forbid("something else after the end" if self.ending != body else None)
            self.repeats += 1
            return
        if status == self.reported:
            self.repeats += 1
        else:
            legal = (self.reported, status) in LEGAL
            self._forbid(None if legal else f"status {status} after {self.reported}")
            self.statuses.append(status)
        if status == self.asked or status in TERMINAL:
            self.asked = None
        if status in TERMINAL:
            self.ending = body

    def _forbid(self, what: str | None) -> None:
        if what is not None:
            self.violations.append(what)
            raise RejectedError(what, 1)


class Impatient(threading.Event):
    """Waits for nothing, and after a few times says that it is time to end."""

    def __init__(self) -> None:
        super().__init__()
        self._left = 4

    def wait(self, timeout: float | None = None) -> bool:
        self._left -= 1
        return self.is_set() or self._left < 0


class SteppedReporter(Reporter):
    """Delivers where it is told to, not from a thread."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._closed = Impatient()

    def start(self) -> None:
        with self._changed:
            self._load()
        if self._beginning is not None:
            self._run()

    def deliver(self) -> None:
        """Deliver what there is, or find that Datahub is down."""
        self._run()

    def wait(self, timeout: float) -> Delivery:
        self._run()
        return super().wait(0)

    def _next(self) -> Any:
        return self._pending[0] if self._pending and not self._closed.is_set() else None


class Parked:
    """An isolation whose plugin does nothing until it is told how its process ends.

    ``happened`` tells the test when a run has come here ("parked").
    """

    def __init__(self, happened: queue.SimpleQueue[str]) -> None:
        self.host: Any = None
        self._happened = happened
        self._ends: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._on_exit: Callable[[WorkerExit], None] = lambda _how: None

    def info(self) -> Mapping[str, Any]:
        return {"isolation": "thread", "timeout_seconds": None}

    def check(self, config: Mapping[str, Any]) -> None:
        """Everything goes."""

    def start(self, facts: Any, host: Any, on_exit: Callable[[WorkerExit], None]) -> Parked:
        self.host, self._on_exit = host, on_exit
        self._happened.put("parked")
        self._ends.get(timeout=30)()
        return self

    def exit(self, code: int, *, asked: bool) -> None:
        """Let the process end: by itself, or when it is ``asked`` to."""
        self._ends.put((lambda: None) if asked else lambda: self._on_exit(WorkerExit(code)))

    def crash(self) -> None:
        """Let the supervisor be killed while the plugin works."""

        def crash() -> None:
            raise Crash

        self._ends.put(crash)

    def close(self) -> None:
        """Nothing to close."""

    def signal(self, name: str) -> None:
        """The test looks for itself."""

    def terminate(self) -> None:
        self._on_exit(WorkerExit(-15))

    kill = terminate


class Still:
    """A ticker, an observer and a transfer engine for which nothing happens."""

    options = EngineOptions()

    def start(self, seconds: Callable[[], float], call: Callable[[], object]) -> Tick:
        """A tick that comes when the test says so."""
        tick = Tick(call)
        tick.job = self
        return tick

    def remove(self) -> None:
        """No scheduler has it."""

    def ask(self, _hook: str, **_facts: object) -> list[object]:
        """Nobody observes."""
        return []

    def tell(self, hook: str, **facts: Any) -> None:
        """Nobody listens."""

    def close(self) -> None:
        """Nothing to close."""
