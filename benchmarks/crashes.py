"""Kills supervisors at random moments, and counts what is lost: nothing may be.

Each supervisor runs a batch of subtasks side by side, and is killed with SIGKILL some time into it,
again and again; then one runs the batch to its end. ``SUBTASKS`` (1,000), ``BATCH`` (20) and
``SEED`` come from the environment; the seed is printed, so that a run can be repeated.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plugin_framework import DatahubPlugin, PluginConfig, TaskContext
from plugin_framework.emulator import Emulator
from plugin_framework.engines.local import LocalEngine
from plugin_framework.journal.journal import Journal
from plugin_framework.settings import load_settings

KEY, SECRET = "crashes", "crashes-secret"
KILLS = 2
INPUT_SIZE = 300_000


class Work(DatahubPlugin):
    """Leaves a mark when it runs, uploads what depends on its input, returns its digest."""

    class Config(PluginConfig):
        """Where to leave the marks."""

        marks: str

    def process(self, ctx: TaskContext[Any]) -> dict[str, Any]:
        """Do it."""
        with open(ctx.config.marks, "a", encoding="ascii") as marks:  # noqa: PTH123 - appends at once
            marks.write(f"{ctx.subtask_id} {os.getpid()}\n")
        data = ctx.download().read_bytes()
        (ctx.output_dir / "reversed.bin").write_bytes(data[::-1])
        return {"sha256": hashlib.sha256(data).hexdigest()}


@dataclass
class Findings:
    """What was counted over all batches."""

    subtasks: int = 0
    kills: int = 0
    repeats: int = 0
    wrong: list[str] = field(default_factory=list)


def main(subtasks: int = 1000, batch: int = 20, seed: int | None = None) -> Findings:
    """Run all batches and print what was found; exits 1 where something is wrong."""
    subtasks = int(os.environ.get("SUBTASKS", subtasks))
    batch = int(os.environ.get("BATCH", batch))
    seed = int(os.environ.get("SEED", seed if seed is not None else time.time_ns() % 10**6))
    print(f"seed {seed}")
    rng = random.Random(seed)
    findings = Findings()
    for first in range(0, subtasks, batch):
        run_batch(
            [f"crash-{first + n}" for n in range(min(batch, subtasks - first))], rng, findings
        )
    print(
        f"{findings.subtasks} subtasks, {findings.kills} kills: {len(findings.wrong)} wrong,"
        f" {findings.repeats} identical repeats"
    )
    for line in findings.wrong:
        print(line)
    return findings


def run_batch(names: list[str], rng: random.Random, findings: Findings) -> None:
    """One batch: killed some times, then run to its end, then checked."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        source = place / "input.bin"
        source.write_bytes(rng.randbytes(INPUT_SIZE))
        with Emulator(state_dir=place / "datahub", key=KEY, secret=SECRET) as emulator:
            for name in names:
                emulator.store.create_subtask(name, input=source)
            for _ in range(KILLS):
                killed_run(emulator.url, place, names, rng.uniform(0.3, 3.0))
                findings.kills += 1
            settled = ended_in_journal(place, names)
            marks = marks_of(place)
            with supervisor(emulator.url, place, names) as process:
                if process.wait(120) != 0:
                    findings.wrong.append(
                        f"{names[0]}...: the last run exited {process.returncode}"
                    )
            again = marks_of(place) - marks
            findings.wrong += [f"{name}: ran again" for name in settled if again[name]]
            for name in names:
                check(name, emulator, source.read_bytes(), findings)
        findings.subtasks += len(names)


def supervisor(url: str, place: Path, names: list[str]) -> subprocess.Popen[bytes]:
    """Start a supervisor for a batch."""
    job = {"url": url, "place": str(place), "names": names}
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.crashes", json.dumps(job)],
        stderr=(place / "supervisor.log").open("ab"),
    )


def killed_run(url: str, place: Path, names: list[str], delay: float) -> None:
    """Start a supervisor, and kill it after a while; nothing of it may live on."""
    with supervisor(url, place, names) as process:
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
    pids = {pid for _, pid in lines_of(place)}
    deadline = time.monotonic() + 10
    while alive := [pid for pid in pids if Path("/proc", pid).exists()]:
        if time.monotonic() > deadline:
            raise SystemExit(f"plugin processes outlived their supervisor: {alive}")
        time.sleep(0.01)


def supervise(job: dict[str, Any]) -> None:
    """Be a supervisor: run all subtasks of a batch side by side."""
    place = Path(job["place"])
    settings = load_settings(
        base_url=job["url"],
        api_key=KEY,
        api_secret=SECRET,
        state_dir=place / "state",
        heartbeat_seconds=0.2,
        poll_seconds=0.5,
    )
    config = {"marks": str(place / "marks")}
    with (
        LocalEngine("benchmarks.crashes:Work", settings) as engine,
        ThreadPoolExecutor(len(job["names"])) as pool,
    ):
        runs = [engine.run(name, config=config) for name in job["names"]]
        outcomes = [future.result() for future in [pool.submit(run.execute) for run in runs]]
    sys.exit(0 if all(outcome.exit_code == 0 for outcome in outcomes) else 1)


def ended_in_journal(place: Path, names: list[str]) -> list[str]:
    """The subtasks whose ending the journal holds."""
    path = place / "state" / "journal.sqlite3"
    if not path.exists():
        return []
    journal = Journal(path)
    try:
        return [name for name in names if journal.ending(name) is not None]
    finally:
        journal.close()


def lines_of(place: Path) -> list[list[str]]:
    """Each run of the author's code: subtask and process id."""
    path = place / "marks"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def marks_of(place: Path) -> Counter[str]:
    """How often the author's code ran, by subtask."""
    return Counter(name for name, _ in lines_of(place))


def check(name: str, emulator: Emulator, data: bytes, findings: Findings) -> None:
    """One subtask: its ending, its result, its output, and how often it was reported."""
    subtask = emulator.store.subtask(name)
    if subtask.result != {"sha256": hashlib.sha256(data).hexdigest()}:
        findings.wrong.append(f"{name}: status {subtask.status}, result {subtask.result}")
    outputs = emulator.store.outputs(name)
    if [output.path.read_bytes() for output in outputs] != [data[::-1]]:
        findings.wrong.append(f"{name}: the output is wrong")
    events = emulator.store.events(name)
    endings = [e for e in events if e.kind == "result" or e.detail.get("status") in (4, 5)]
    if len({json.dumps([e.kind, e.detail], sort_keys=True) for e in endings}) != 1:
        findings.wrong.append(f"{name}: different endings")
    findings.repeats += len(endings) - 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        supervise(json.loads(sys.argv[1]))
    elif main().wrong:
        sys.exit(1)
