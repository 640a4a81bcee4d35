"""One run of one client: its time, CPU and memory."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.transfer.clients import Client, Workplace, environment
from benchmarks.transfer.job import MIB, Job
from benchmarks.transfer.servers import Store

SAMPLE_SECONDS = 0.02
LONGEST_SECONDS = 300


class FailedRunError(Exception):
    """The client did not do the job; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class Run:
    """How a job went.

    Attributes:
        seconds: from the store's first connection until the client was done.
        cpu_seconds: of the client; where it says so itself, without its start.
        idle_mib: anonymous memory when the first connection came.
        peak_mib: the most anonymous memory.
    """

    seconds: float
    cpu_seconds: float
    idle_mib: float
    peak_mib: float


def run(client: Client, job: Job, store: Store, place: Workplace) -> Run:
    """Have ``client`` do ``job``.

    Raises:
        FailedRunError: it did not.
    """
    command, extra = client.command(job, place)
    with place.scratch.joinpath("said").open("w+") as said:
        store.tally()
        process = subprocess.Popen(
            command, stdout=said, stderr=subprocess.STDOUT, env=environment(extra)
        )
        memory = _Memory(process.pid)
        usage = _ended(process)
        ended_ns = time.monotonic_ns()
        memory.stop()
        said.seek(0)
        lines = said.read().splitlines()
    seen = store.tally()
    if process.returncode:
        reason = lines[-1][:200] if lines else ""
        raise FailedRunError(f"exit status {process.returncode}: {reason}")
    moved = seen.bytes_in if job.up else seen.bytes_out
    if moved < job.size:
        raise FailedRunError(f"it moved {moved} of {job.size} bytes")
    cpu_seconds = usage.ru_utime + usage.ru_stime
    if client.speaks:
        told = json.loads(lines[-1])
        ended_ns = told["ended_ns"]
        cpu_seconds = told.get("cpu_seconds", cpu_seconds)
    first_ns = seen.first_ns
    idle, peak = memory.between(first_ns, ended_ns)
    return Run((ended_ns - first_ns) / 1e9, cpu_seconds, idle / MIB, peak / MIB)


def _ended(process: subprocess.Popen[bytes]) -> os.struct_rusage:  # type: ignore[name-defined]  # typeshed has it as resource.struct_rusage
    timer = threading.Timer(LONGEST_SECONDS, process.kill)
    timer.start()
    _, status, usage = os.wait4(process.pid, 0)
    timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage


class _Memory:
    """Samples the anonymous memory of a process: mapped files are the kernel's to keep."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._samples: list[tuple[int, int]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def between(self, began_ns: int, ended_ns: int) -> tuple[int, int]:
        """Bytes at the begin, and the most up to the end."""
        before = [size for at, size in self._samples if at <= began_ns]
        within = [size for at, size in self._samples if began_ns <= at <= ended_ns]
        idle = before[-1] if before else 0
        return idle, max([*within, idle])

    def _run(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            with suppress(OSError, IndexError):
                line = self._status.read_text().partition("RssAnon:")[2]
                self._samples.append((time.monotonic_ns(), int(line.split()[0]) * 1024))
