"""A measurement: tasks are offered to a service, and its reports come to an emulator of ours."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx

from plugin_framework.emulator.bench.figures import Figures
from plugin_framework.emulator.bench.ledger import Ledger, Task
from plugin_framework.emulator.bench.offering import Offering
from plugin_framework.emulator.bench.target import Target
from plugin_framework.emulator.store import Store
from plugin_framework.errors import ConfigurationError
from plugin_framework.protocol.models import TaskStatus

LOOK_SECONDS: Final = 0.25
TOLD_SECONDS: Final = 10.0
"""Between two lines on how far it is."""

SILENCE_SECONDS: Final = 120.0
"""From the first accepted task on: a service that reports nothing for longer reports to another
Datahub, or to none."""

END_SECONDS: Final = 15.0
"""How long tasks that are cancelled at the end may take."""


class Bench:
    """``tasks`` tasks at ``rate`` a second, with ``input`` where there is one.

    ``state_dir`` and ``store`` are the emulator's; ``beat`` is the service's interval of
    heartbeats, in seconds.
    """

    def __init__(
        self,
        target: Target,
        state_dir: Path,
        store: Store,
        *,
        tasks: int,
        rate: float,
        input: Path | None = None,  # noqa: A002 - what plugins and the command call it
        beat: float = 30.0,
    ) -> None:
        # Of another name each time: a service that goes on remembers what it had before.
        series = secrets.token_hex(4)
        self._tasks = [Task(f"bench-{series}-{number}") for number in range(1, tasks + 1)]
        self._target = target
        self._rate = rate
        self._beat = beat
        self._ledger = Ledger(state_dir, self._tasks)
        self._offering = Offering(target, self._tasks, rate)
        self._processors = Processors()
        self.silent: bool = False
        for task in self._tasks:
            store.create_subtask(task.subtask_id, input=input, config=target.config)

    def run(
        self,
        patience: float,
        tell: Callable[[str], object] = lambda _line: None,
        serves: Callable[[], bool] = lambda: True,
    ) -> None:
        """Offer all, and wait until all have ended, ``patience`` seconds at most after the last.

        ``tell`` is given a line now and then; ``serves`` says whether there still is a service.
        However it ends, ``figures`` are what is known.

        Raises:
            ConfigurationError: the service refuses the first task, as it would all others.
        """
        self._processors.begin()
        self._offering.start()
        began = told = time.time()
        nobody = threading.Event()
        try:
            while not (self._offering.over and self._ledger.over):
                nobody.wait(LOOK_SECONDS)
                self._ledger.read()
                now = time.time()
                if now - told >= TOLD_SECONDS:
                    told = now
                    tell(f"after {now - began:.0f} s: {self._so_far()}")
                self._check_first()
                late = now > self._tasks[-1].due + patience
                if late or self._is_silent(now) or not serves():
                    break
        finally:
            self._offering.stop()
            self._processors.end()
            self._ledger.read()

    def figures(self) -> Figures:
        """What was measured."""
        busy = self._processors.busy
        return Figures(self._tasks, self._rate, self._beat, len(os.sched_getaffinity(0)), busy)

    def call_off(self) -> int:
        """Have the service cancel what it has accepted and not ended; how many those are."""
        left = [task for task in self._tasks if task.answer == "accepted" and not task.over]
        with httpx.Client(trust_env=False, timeout=END_SECONDS) as client:
            for task in left:
                try:
                    client.send(self._target.cancel(task.subtask_id))
                except httpx.HTTPError:
                    break
        end = time.monotonic() + END_SECONDS
        nobody = threading.Event()
        while time.monotonic() < end and not all(task.over for task in left):
            nobody.wait(LOOK_SECONDS)
            self._ledger.read()
        return len(left)

    def _so_far(self) -> str:
        answers = Counter(task.answer for task in self._tasks)
        running = sum(t.status is TaskStatus.RUNNING for t in self._tasks)
        ended = sum(t.ended is not None for t in self._tasks)
        return f"{answers['accepted']} accepted, {running} running, {ended} ended"

    def _check_first(self) -> None:
        first = next((task for task in self._tasks if task.answer), None)
        if first is not None and first.answer == "refused":
            raise ConfigurationError(f"the service refuses the first task: {first.problem}")

    def _is_silent(self, now: float) -> bool:
        answered = [t.answered for t in self._tasks if t.answered and t.answer == "accepted"]
        reported = any(task.status for task in self._tasks)
        self.silent = bool(answered) and not reported and now - min(answered) > SILENCE_SECONDS
        return self.silent


class Processors:
    """How busy this machine's processors are, all programs together."""

    def __init__(self) -> None:
        self._before: tuple[int, int] | None = None
        self.busy: float | None = None

    def begin(self) -> None:
        """Measure from now on."""
        self._before = _ticks()

    def end(self) -> None:
        """Measure until now: ``busy`` is the share, None where the kernel does not tell."""
        after = _ticks()
        if self._before and after and after[1] > self._before[1]:
            self.busy = (after[0] - self._before[0]) / (after[1] - self._before[1])


def _ticks() -> tuple[int, int] | None:
    """Ticks in use, and all; of the first line of /proc/stat, whose 4th and 5th are idle."""
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    except OSError:
        return None
    ticks = [int(number) for number in line.split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)
