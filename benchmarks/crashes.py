"""Kills supervisors at random moments, and counts what is lost: nothing may be.

Each supervisor runs a batch of subtasks side by side, and is killed with SIGKILL some way into it,
again and again; then one runs the batch to its end. Where a kill falls is drawn by lot: when so
many subtasks have come to a phase, and a few milliseconds later. ``SUBTASKS`` (1,000), ``BATCH``
(25) and ``SEED`` come from the environment; the seed is printed, so that a run can be repeated.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plugin_framework import DatahubPlugin, PluginConfig, TaskContext
from plugin_framework.emulator import Emulator
from plugin_framework.engines.local import JOURNAL, LocalEngine
from plugin_framework.settings import load_settings
from tests.lifecycle.running import alive

KEY, SECRET = "crashes", "crashes-secret"
INPUT_SIZE = 300_000
DATAHUB = "datahub/datahub.sqlite3"
STATE = f"state/{JOURNAL}"
LATER_SECONDS = 0.02

MOMENTS: Mapping[str, tuple[str, str]] = {
    "begun": (STATE, "SELECT count(*) FROM attempts"),
    "downloading": (DATAHUB, "SELECT count(*) FROM events WHERE kind = 'download'"),
    "uploading": (DATAHUB, "SELECT count(*) FROM uploads"),
    "journalled": (STATE, "SELECT count(*) FROM reports WHERE outcome IS NOT NULL"),
    "delivering": (
        STATE,
        "SELECT count(*) FROM reports WHERE outcome IS NOT NULL AND fate = 'pending'",
    ),
    "applied": (DATAHUB, "SELECT count(*) FROM subtasks WHERE status = 3"),
}
"""What is counted to tell how far a batch has come: a database, and what to ask it."""


class Work(DatahubPlugin):
    """Leaves a mark and a child process, uploads what its input makes, returns a new result."""

    class Config(PluginConfig):
        """Where to leave the marks."""

        marks: str

    def process(self, ctx: TaskContext[Any]) -> dict[str, Any]:
        """Do it."""
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        processes = map(identity, (os.getpid(), os.getppid(), child.pid))
        mark = f"{ctx.subtask_id} {' '.join(processes)}\n"
        with open(ctx.config.marks, "a", encoding="ascii") as marks:  # noqa: PTH123 - appends at once
            marks.write(mark)
        data = ctx.download().read_bytes()
        (ctx.output_dir / "reversed.bin").write_bytes(data[::-1])
        # A second run would return something else: two endings could not pass for one.
        return {"sha256": hashlib.sha256(data).hexdigest(), "run": time.time_ns()}


def identity(pid: int) -> str:
    """A process, told apart from any later one of the same number by when it started."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    return f"{pid}@{stat.rpartition(')')[2].split()[19]}"


def lives(process: str) -> bool:
    """Whether the process of that identity is still there."""
    pid = int(process.partition("@")[0])
    try:
        return alive(pid) and identity(pid) == process
    except OSError:
        return False


def what_is(pid: str) -> str:
    """The command line and state of a process, for complaints."""
    try:
        line = Path("/proc", pid, "cmdline").read_text(errors="replace").replace("\0", " ")
        status = Path("/proc", pid, "status").read_text(errors="replace").splitlines()
    except OSError as error:
        return str(error.strerror)
    facts = [part for part in status if part.startswith(("State", "PPid", "Threads"))]
    return f"{line}({', '.join(facts)})"


@dataclass
class Findings:
    """What was counted over all batches; ``hit`` is where each kill found each subtask."""

    subtasks: int = 0
    kills: int = 0
    repeats: int = 0
    hit: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def main(
    subtasks: int | None = None,
    batch: int | None = None,
    kills: int = 3,
    seed: int | None = None,
) -> Findings:
    """Run all batches and print what was found."""
    subtasks = subtasks or int(os.environ.get("SUBTASKS", "1000"))
    batch = batch or int(os.environ.get("BATCH", "25"))
    if seed is None:
        seed = int(os.environ.get("SEED", time.time_ns() % 10**6))
    print(f"seed {seed}")
    rng = random.Random(seed)
    findings = Findings()
    for first in range(0, subtasks, batch):
        names = [f"crash-{first + n}" for n in range(min(batch, subtasks - first))]
        with tempfile.TemporaryDirectory() as folder:
            Batch(Path(folder), names, rng, findings).run(kills)
    print(
        f"{findings.subtasks} subtasks, {findings.kills} kills: {len(findings.wrong)} wrong,"
        f" {findings.repeats} identical repeats"
    )
    print("killed:", ", ".join(f"{count} {where}" for where, count in findings.hit.most_common()))
    for line in findings.wrong:
        print(line)
    return findings


class Batch:
    """Some subtasks: run and killed some times, then run to their end, then checked."""

    def __init__(
        self, place: Path, names: list[str], rng: random.Random, findings: Findings
    ) -> None:
        self._place = place
        self._names = names
        self._rng = rng
        self._findings = findings
        self._settled: dict[str, int] = {}

    def run(self, kills: int) -> None:
        """Do it all."""
        source = self._place / "input.bin"
        source.write_bytes(self._rng.randbytes(INPUT_SIZE))
        with Emulator(state_dir=self._place / "datahub", key=KEY, secret=SECRET) as emulator:
            for name in self._names:
                emulator.store.create_subtask(name, input=source)
            for _ in range(kills):
                with self._supervisor(emulator.url) as process:
                    self._kill(process)
                self._after_a_run()
            with self._supervisor(emulator.url) as process:
                if process.wait(120) != 0:
                    self._complain(f"the last run exited {process.returncode}")
            self._after_a_run()
            for name in self._names:
                self._check(name, emulator, source.read_bytes())
        if self._ask(STATE, "PRAGMA integrity_check") != [("ok",)]:
            self._complain("the journal is corrupt")
        self._findings.subtasks += len(self._names)

    def _supervisor(self, url: str) -> subprocess.Popen[bytes]:
        job = {"url": url, "place": str(self._place), "names": self._names}
        with (self._place / "supervisor.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "benchmarks.crashes", json.dumps(job)], stderr=log
            )

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill it once as many subtasks as the lot says have come to a phase, or soon after."""
        database, question = MOMENTS[self._rng.choice(list(MOMENTS))]
        reached = self._count(database, question)
        wanted = reached + self._rng.randint(1, max(1, (len(self._names) - reached) * 2 // 3))
        if "pending" in question:
            wanted = self._rng.randint(1, 3)  # these come and go
        later = self._rng.uniform(0, LATER_SECONDS)
        while process.poll() is None and self._count(database, question) < wanted:
            time.sleep(0.005)
        time.sleep(later)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            self._findings.kills += 1
            self._findings.hit.update(self._whereabouts().values())

    def _after_a_run(self) -> None:
        """Nothing of it lives on; and what had ended before it was not run again."""
        marks = Counter(line[0] for line in self._marks())
        for name, before in self._settled.items():
            if marks[name] != before:
                self._complain(f"{name} ran again, with its result in the journal")
        ended = self._ask(STATE, "SELECT subtask_id FROM reports WHERE outcome IS NOT NULL")
        self._settled = {name: marks[name] for (name,) in ended}
        deadline = time.monotonic() + 10
        while left := [one for _, *them in self._marks() for one in them if lives(one)]:
            if time.monotonic() > deadline:
                named = [what_is(one.partition("@")[0]) for one in left]
                self._complain(f"processes outlived their supervisor: {named}")
                break
            time.sleep(0.01)

    def _whereabouts(self) -> dict[str, str]:
        """Where each subtask is, by the journal, the author's marks and Datahub."""
        found = dict.fromkeys(self._names, "before their start")
        found |= dict.fromkeys(self._column(STATE, "SELECT subtask_id FROM attempts"), "begun")
        found |= dict.fromkeys((line[0] for line in self._marks()), "at work")
        found |= dict.fromkeys(
            self._column(DATAHUB, "SELECT subtask_id FROM uploads"), "while uploading"
        )
        ended = "SELECT subtask_id FROM reports WHERE outcome IS NOT NULL AND fate = "
        found |= dict.fromkeys(self._column(STATE, f"{ended}'pending'"), "journalled, not sent")
        for name in self._column(DATAHUB, "SELECT subtask_id FROM subtasks WHERE status = 3"):
            found[name] = "sent, not known to be"
        return found | dict.fromkeys(self._column(STATE, f"{ended}'delivered'"), "delivered")

    def _check(self, name: str, emulator: Emulator, data: bytes) -> None:
        """One subtask: its ending, its result, its output, and how often it was reported."""
        subtask = emulator.store.subtask(name)
        if (subtask.result or {}).get("sha256") != hashlib.sha256(data).hexdigest():
            self._complain(f"{name}: status {subtask.status}, result {subtask.result}")
        outputs = emulator.store.outputs(name)
        if [output.path.read_bytes() for output in outputs] != [data[::-1]]:
            self._complain(f"{name}: the output is wrong")
        events = emulator.store.events(name)
        endings = [e for e in events if e.kind == "result" or e.detail.get("status") in (4, 5)]
        # Datahub compares bodies byte for byte: one that differs was refused, with a code.
        if len({json.dumps([e.kind, e.detail, e.code], sort_keys=True) for e in endings}) != 1:
            self._complain(f"{name}: different endings")
        if any(event.code for event in endings):
            self._complain(f"{name}: an ending was refused")
        if any(event.kind == "status" for event in events[events.index(endings[0]) :]):
            self._complain(f"{name}: a status after its ending")
        self._findings.repeats += len(endings) - 1

    def _marks(self) -> list[list[str]]:
        """Each run of the author's code: subtask, and the ids of its processes."""
        path = self._place / "marks"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def _count(self, database: str, question: str) -> int:
        rows = self._ask(database, question)
        return int(rows[0][0]) if rows else 0

    def _column(self, database: str, question: str) -> list[str]:
        return [str(row[0]) for row in self._ask(database, question)]

    def _ask(self, database: str, question: str) -> list[tuple[Any, ...]]:
        """Look into a database without touching it; nothing where there is none yet."""
        with (
            suppress(sqlite3.OperationalError),
            closing(sqlite3.connect(f"file:{self._place / database}?mode=ro", uri=True)) as db,
        ):
            return db.execute(question).fetchall()
        return []

    def _complain(self, line: str) -> None:
        self._findings.wrong.append(f"{self._names[0]}...: {line}")


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


if __name__ == "__main__":
    if len(sys.argv) > 1:
        supervise(json.loads(sys.argv[1]))
    elif main().wrong:
        sys.exit(1)
