"""Signals supervisors at random moments, once or twice, and sees that all end well and in time.

``SIGNALS`` (100) of each kind; ``SEED`` repeats a run. Each is sent to the real command, which runs
one subtask under a policy drawn by lot, some time into its start, its work, its upload or its
delivery; then the subtask is started again, and must come to its one end.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plugin_framework import DatahubPlugin, TaskContext
from plugin_framework.engines.local import run_task
from plugin_framework.settings import load_settings
from tests.strict_datahub import StrictDatahub

SUBTASK = "task_abc_001_ingest"
PLUGIN = "benchmarks.signals:Works"
GRACE = 1.0
LATE = float(os.environ.get("LATE", "2"))
"""Seconds beyond the grace period that an exit may take; a busy machine needs more."""

WORK_SECONDS = 0.3
OUTPUT = b"part" * 250_000
AT_ONCE = 4
POLICIES = ("fail", "cancel", "pause", "leave")
LEFT = {0: {3}, 1: {5}, 4: {4}, 143: {0, 1, 2}, 75: {1, 2}, -signal.SIGTERM: {0}}
"""By exit code, the last status that Datahub may have; 0 for none."""
POLICY_OF = {5: "fail", 4: "cancel", 2: "pause", 1: "leave"}
"""By that status, the policy that gives it."""
CALLS = ("update_status", "upload/init", "upload/complete", "result")
CUT_OFF = "API: the body is shorter than its Content-Length"


class Works(DatahubPlugin):
    """Works for a while, a checkpoint at a time, and leaves one output."""

    def process(self, ctx: TaskContext[Any]) -> dict[str, Any]:
        """Do it."""
        until = time.monotonic() + WORK_SECONDS
        while time.monotonic() < until:
            ctx.checkpoint()
            time.sleep(0.01)
        (ctx.output_dir / "out.bin").write_bytes(OUTPUT)
        return {"run": time.time_ns()}


@dataclass
class Findings:
    """What was counted; ``slowest`` is the longest exit, in seconds after the signal."""

    ends: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    wrong: list[str] = field(default_factory=list)


def main(count: int | None = None, seed: int | None = None) -> Findings:
    """Send all the signals and print what was found."""
    count = count or int(os.environ.get("SIGNALS", "100"))
    if seed is None:
        seed = int(os.environ.get("SEED", time.time_ns() % 10**6))
    print(f"seed {seed}")
    found = Findings()

    def one(case: tuple[int, bool]) -> None:
        with tempfile.TemporaryDirectory() as folder, StrictDatahub(SUBTASK) as hub:
            rng = random.Random(f"{seed} {case}")
            Signalled(hub, Path(folder), rng, found).run(*case)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, itertools.product(range(count), (False, True))))
    print(f"{2 * count} runs, slowest exit {found.slowest:.2f} s, wrong: {len(found.wrong)}")
    print(*(f"{times} {end}" for end, times in sorted(found.ends.items())), sep="\n")
    print(*found.wrong, sep="\n")
    return found


class Signalled:
    """One subtask that is signalled."""

    def __init__(
        self, hub: StrictDatahub, state: Path, rng: random.Random, found: Findings
    ) -> None:
        self._hub = hub
        self._rng = rng
        self._found = found
        self._policy = rng.choice(POLICIES)
        self._said = state / "said"
        self._options = {
            "base_url": hub.url,
            "state_dir": str(state),
            "grace_seconds": GRACE,
            "heartbeat_seconds": 0.1,
            "poll_seconds": 0.1,
            "on_shutdown": self._policy,
        }

    def run(self, number: int, twice: bool) -> None:  # noqa: FBT001 - a pair of a product
        """Signal it, look at what it left, start it again, and look at what became of it."""
        process = self._start()
        try:
            self._wait_for_a_moment(process)
            sent = time.monotonic()
            for _ in range(1 + twice):
                process.send_signal(signal.SIGTERM)
                time.sleep(self._rng.uniform(0, 0.1) if twice else 0)
            process.wait(60)
            took = time.monotonic() - sent
        finally:
            process.kill()
            process.wait()
        left = list(self._hub.statuses)
        self._found.slowest = max(self._found.slowest, took)
        self._found.ends[f"{self._policy}: exit {process.returncode}, statuses {left}"] += 1
        problems = [*self._after_it(process.returncode, took, left), *self._after_all(left)]
        where = f"{number}, {'twice' if twice else 'once'}, {self._policy}"
        self._found.wrong += [f"{where}: {problem}" for problem in problems]

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {f"DATAHUB_{name.upper()}": str(v) for name, v in self._options.items()}
        command = [sys.executable, "-m", "plugin_framework", "run", PLUGIN]
        with self._said.open("wb") as said:
            return subprocess.Popen(
                [*command, "--subtask-id", SUBTASK],
                env={**os.environ, **environment},
                stdout=subprocess.DEVNULL,
                stderr=said,
            )

    def _wait_for_a_moment(self, process: subprocess.Popen[bytes]) -> None:
        name = self._rng.choice(["", *CALLS, CALLS[0], CALLS[0]])
        if name:
            path = f"/api/task/{name}"
            while process.poll() is None and path not in {call.path for call in self._hub.calls}:
                time.sleep(0.005)
            time.sleep(self._rng.uniform(0, WORK_SECONDS if name == CALLS[0] else 0.05))
        else:
            time.sleep(self._rng.uniform(0.1, 2))

    def _after_it(self, code: int, took: float, left: list[int]) -> Iterator[str]:
        last = left[-1] if left else 0
        if took > GRACE + LATE:
            yield f"took {took:.1f} s to exit"
        if last not in LEFT.get(code, set()):
            yield f"exit {code}, and statuses {left}: {self._said.read_text()[-500:]}"
        elif not self._hub.heartbeats and last == 1:
            pass  # Datahub knew of the start before the command did, which then ran nothing.
        elif last in POLICY_OF and self._policy != POLICY_OF[last]:
            yield f"statuses {left} are not by the policy"

    def _after_all(self, left: list[int]) -> Iterator[str]:
        settings = load_settings(**self._options, isolation="thread")
        end = run_task(PLUGIN, subtask_id=SUBTASK, settings=settings)
        if not end.delivered or self._hub.statuses[-1] != end.status:
            yield f"then {end.status.name}, with statuses {self._hub.statuses}"
        if end.status != (left[-1] if left[-1:] in ([3], [4], [5]) else 3):
            yield f"{left}, and then {end.status.name}"
        if self._hub.result != end.result:
            yield "the result is not what was reported"
        if end.result is not None and self._hub.outputs != {"out.bin": OUTPUT}:
            yield "the output is not whole"
        yield from (said for said in self._hub.violations if said != CUT_OFF)


if __name__ == "__main__":
    sys.exit(1 if main().wrong else 0)
