"""Removes duplicate records from a table that is larger than memory, on all cores."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from example_plugins.dedupe_plan import EXIT_PROBLEM, Counts, Order, Plan
from plugin_framework import (
    DatahubPlugin,
    Field,
    PluginConfig,
    PluginError,
    TaskContext,
    TaskResult,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

LEAST_MB = 64
"""What DuckDB needs at the least, for each process."""
MOST_PARTS = 64
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
"""The byte order marks; without one, NUL bytes tell."""
ROOM = 4
"""How many times a part fits into the memory of the process that takes it."""
UNPACKED = {"csv": 1, "parquet": 4}
"""How many times its size on disk a table takes in memory, roughly."""


class DedupeRecords(DatahubPlugin):
    """Removes duplicate records from a CSV or Parquet file of any size."""

    # DuckDB comes to no checkpoint: its processes are stopped where they are, and go on there.
    pause_mode = "freeze"

    class Config(PluginConfig):
        """Which records are equal, and what that may cost."""

        keys: list[str] = Field(
            [],
            max_length=1_000,
            title="Key columns",
            description="Records that agree in these are equal; without any, in all columns.",
        )
        keep: Literal["first", "last"] = Field(
            "first", title="Keep", description="Which of the records that are equal."
        )
        ignore_case: bool = Field(
            False, title="Ignore case", description="Take Oslo and OSLO for equal."
        )
        ignore_spaces: bool = Field(
            False, title="Ignore spaces", description="At both ends, and how many within."
        )
        delimiter: str = Field(
            ",",
            pattern=r"^[\t -!#-~]$",
            title="Delimiter",
            description="Of a CSV file: the one character between two fields.",
        )
        max_failed_rows: int = Field(
            100_000,
            ge=0,
            le=1_000_000,
            title="Most failed rows",
            description="Of a CSV file: how many rows may be unreadable, and are left out.",
        )
        memory_mb: int = Field(
            1024,
            ge=LEAST_MB,
            title="Memory",
            description=f"In MB, for DuckDB in all processes; what does not fit goes to disk. "
            f"Each process needs {LEAST_MB}.",
        )
        processes: int = Field(
            0,
            ge=0,
            le=256,
            title="Processes",
            description="At once; 0 is as many as there are cores, and memory for.",
        )

    def process(self, ctx: TaskContext[Config]) -> TaskResult:
        """Split the records into parts, remove the duplicates of each, join what stays."""
        plan = make_plan(ctx.download(), ctx)
        counts = split(plan, ctx)
        deduplicate(plan, ctx)
        unique = take_step("join", Order(plan=plan), ctx)["rows"]
        ctx.progress(100)
        ctx.upload(plan.folder / "joined", f"{plan.source.stem}.unique.{plan.format}")
        return TaskResult(
            total_counts=counts["rows"] + counts["failed_rows"],
            success_counts=counts["rows"],
            failed_counts=counts["failed_rows"],
            unique=unique,
            duplicates=counts["rows"] - unique,
        )


def make_plan(source: Path, ctx: TaskContext[DedupeRecords.Config]) -> Plan:
    """What is to be done with the input; the same for each attempt on the same machine.

    Raises:
        PluginError: the input is empty, or UTF-16.
    """
    config = ctx.config
    with source.open("rb") as file:
        begins = file.read(4096)
    if not begins:
        raise PluginError("the file is empty: it has no line with the columns' names")
    kind: Literal["csv", "parquet"] = "parquet" if begins.startswith(b"PAR1") else "csv"
    if kind == "csv" and (begins.startswith(UTF_16) or b"\0" in begins):
        raise PluginError(
            "the file is UTF-16, or no text; it must be UTF-8: convert it, as with"
            " iconv -f UTF-16 -t UTF-8"
        )
    processes = config.processes or len(os.sched_getaffinity(0))
    processes = max(1, min(processes, config.memory_mb // LEAST_MB))
    megabytes = source.stat().st_size * UNPACKED[kind] / 1_000_000
    parts = ROOM * megabytes * processes / config.memory_mb
    return Plan(
        **config.model_dump(exclude={"processes"}),
        source=source,
        format=kind,
        folder=ctx.work_dir / "dedupe",
        parts=min(max(round(parts), processes), MOST_PARTS),
        processes=processes,
    )


def split(plan: Plan, ctx: TaskContext[DedupeRecords.Config]) -> Counts:
    """Split the rows into parts, unless an earlier attempt has, by the same plan."""
    made_by = plan.model_dump(mode="json")
    if ctx.state.get("plan") != made_by:
        shutil.rmtree(plan.folder, ignore_errors=True)
        (plan.folder / "unique").mkdir(parents=True)
        ctx.save_state(plan=made_by, counts=take_step("split", Order(plan=plan), ctx))
        ctx.log.info("the rows are split into %d parts", plan.parts)
    ctx.progress(40)
    ctx.checkpoint("split")
    counts: Counts = ctx.state["counts"]
    return counts


def deduplicate(plan: Plan, ctx: TaskContext[DedupeRecords.Config]) -> None:
    """Remove the duplicates of each part that no earlier attempt has done."""
    # Threads that wait: each has a process, which ``ctx.run`` ends when the task is cancelled.
    pool = ThreadPoolExecutor(plan.processes)
    try:
        steps = [
            pool.submit(take_step, "deduplicate", Order(plan=plan, part=part), ctx)
            for part in missing_parts(plan)
        ]
        for done, step in enumerate(as_completed(steps), 1):
            ctx.log.info("of a part, %d rows stay", step.result()["rows"])
            ctx.progress(40 + 40 * done / len(steps))
            ctx.checkpoint("part")
    finally:
        pool.shutdown(cancel_futures=True)


def missing_parts(plan: Plan) -> Iterable[int]:
    """The parts that have rows, and are not yet done."""
    for folder in (plan.folder / "split").iterdir():
        part = int(folder.name.rpartition("=")[2])
        if not (plan.folder / "unique" / f"{part}.parquet").exists():
            yield part


def take_step(step: str, order: Order, ctx: TaskContext[DedupeRecords.Config]) -> Counts:
    """Take a step in a process of its own, and return what it counted.

    Raises:
        PluginError: with what people can mend.
    """
    # -P: were the current folder searched for modules, an input called json.py would be one.
    done = ctx.run(
        [sys.executable, "-P", "-m", "example_plugins.dedupe_steps", step],
        input=order.model_dump_json(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode == EXIT_PROBLEM:
        raise PluginError(done.stderr.strip().splitlines()[-1])
    if done.returncode:
        ctx.log.error("the step %s failed: %s", step, done.stderr[-5_000:])
        raise PluginError(f"the step {step} ended with exit code {done.returncode}")
    counts: Counts = json.loads(done.stdout)
    return counts
