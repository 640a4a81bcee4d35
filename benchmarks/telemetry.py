"""What traces and figures cost: processor time of transfers with and without, turn by turn.

On a busy machine the time on the clock says little, and that of the processor a bit less than it
should: so there are many short rounds, each with and without in random order, and what is compared
is the median and the least of each.
"""

from __future__ import annotations

import itertools
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from prometheus_client import CollectorRegistry

from benchmarks.plugins import Copy
from plugin_framework import Settings
from plugin_framework.emulator import Emulator
from plugin_framework.engines.local import LocalEngine
from plugin_framework.telemetry.extension import Telemetry
from plugin_framework.telemetry.figures import TaskFigures
from plugin_framework.telemetry.log_facts import LogFacts

MIB = 2**20
SIZE = int(os.environ.get("SIZE_MIB", "256")) * MIB
ROUNDS = int(os.environ.get("ROUNDS", "20"))
TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Side:
    """One of the two: its engine, the processes that are its own, and what each round took."""

    engine: LocalEngine
    processes: set[int]
    cpu: list[float] = field(default_factory=list)
    clock: list[float] = field(default_factory=list)


def main() -> None:
    """Print the processor time of each side, and their ratio."""
    with _own_stdout() as out, tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source.bin")
        with source.open("wb") as file:
            file.truncate(SIZE)
        with Emulator(state_dir=Path(folder, "datahub")) as datahub:
            plain = _side(lambda: _engine(datahub.url, Path(folder, "off"), observed=False))
            observed = _side(lambda: _engine(datahub.url, Path(folder, "on"), observed=True))
            numbers = itertools.count()
            for turn in range(ROUNDS + 1):
                for side in random.sample((plain, observed), 2):
                    name = f"{next(numbers)}"
                    datahub.store.create_subtask(name, input=source)
                    _run(side, name, counted=turn > 0)
            plain.engine.close()
            observed.engine.close()
        print(_told(plain, observed), file=out)


def _told(plain: Side, observed: Side) -> str:
    lines = [f"{SIZE // MIB} MiB in and out again, {ROUNDS} rounds"]
    for what, of in (("median", statistics.median), ("least", min)):
        off, on = of(plain.cpu), of(observed.cpu)
        lines.append(
            f"  CPU seconds a round, {what}: {off:.4f} without, {on:.4f} with traces and figures:"
            f" ratio {on / off:.4f}"
        )
    clocks = statistics.median(plain.clock), statistics.median(observed.clock)
    lines.append("  seconds a round, median: {:.3f} without, {:.3f} with".format(*clocks))
    return "\n".join(lines)


def _side(make: Callable[[], LocalEngine]) -> Side:
    before = _children()
    engine = make()
    return Side(engine, _children() - before)


def _engine(url: str, state_dir: Path, *, observed: bool) -> LocalEngine:
    settings = Settings(base_url=url, state_dir=state_dir, log_level="ERROR")
    if not observed:
        return LocalEngine(Copy, settings, extensions={})
    figures = {"figures": TaskFigures(CollectorRegistry()), "log facts": LogFacts()}
    return LocalEngine(Copy, settings, extensions={"telemetry": Telemetry()}, observers=figures)


def _run(side: Side, name: str, *, counted: bool) -> None:
    """One subtask; the first of each side warms up."""
    before, began = _cpu(side), time.perf_counter()
    outcome = side.engine.run(name).execute()
    if outcome.exit_code:
        raise SystemExit(f"the run failed: {outcome.error}")
    if counted:
        side.clock.append(time.perf_counter() - began)
        side.cpu.append(_cpu(side) - before)


def _cpu(side: Side) -> float:
    """Seconds of this process, and of the side's own with all that have ended in them."""
    return time.process_time() + sum(map(_cpu_of, side.processes))


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICK


def _children() -> set[int]:
    tasks = Path("/proc/self/task").glob("*/children")
    return {int(pid) for task in tasks for pid in task.read_text(encoding="ascii").split()}


@contextmanager
def _own_stdout() -> Iterator[TextIO]:
    """What is exported to the console goes nowhere; yield where to print what was measured."""
    os.environ["OTEL_TRACES_EXPORTER"] = "console"
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out, Path(os.devnull).open("w") as null:
        os.dup2(null.fileno(), 1)
        try:
            yield out
        finally:
            sys.stdout.flush()
            os.dup2(out.fileno(), 1)


if __name__ == "__main__":
    main()
