"""What a client is told to move, and what it says about how that went."""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Job:
    """One transfer of ``size`` bytes in parts of ``part`` bytes, ``concurrency`` at once.

    Attributes:
        up: whether ``file`` is sent; else it is written.
        origin: scheme, host and port of the store.
        authority: PEM file of the authority to trust.
        digest: whether we compute the SHA-256 of what we send.
    """

    up: bool
    origin: str
    file: str
    size: int
    part: int
    concurrency: int
    authority: str
    digest: bool = False

    @property
    def secure(self) -> bool:
        """Whether it goes over TLS."""
        return self.origin.startswith("https:")

    @property
    def port(self) -> str:
        """The store's."""
        return self.origin.rpartition(":")[2]

    @property
    def parts(self) -> list[tuple[int, int]]:
        """Offset and size of each."""
        return [
            (offset, min(self.part, self.size - offset))
            for offset in range(0, self.size, self.part)
        ]

    def dumps(self) -> str:
        """As text; see ``job_of_argv``."""
        return json.dumps(asdict(self))


def job_of_argv() -> Job:
    """The job that this process was started for."""
    return Job(**json.loads(sys.argv[1]))


@contextlib.contextmanager
def measured() -> Iterator[None]:
    """Say when the block ended and what it cost: without the interpreter's start and imports."""
    before = _cpu_seconds()
    yield
    ended = time.monotonic_ns()
    print(json.dumps({"ended_ns": ended, "cpu_seconds": _cpu_seconds() - before}), flush=True)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def in_threads(job: Job, work: Callable[[int, int, int], object]) -> None:
    """Run ``work(index from 1, offset, size)`` for all parts."""
    with ThreadPoolExecutor(job.concurrency) as pool:
        pieces = [
            pool.submit(work, index, offset, size)
            for index, (offset, size) in enumerate(job.parts, 1)
        ]
        for piece in pieces:
            piece.result()


def allocated(path: str, size: int) -> Path:
    """``path``, as an empty file of that size."""
    with Path(path).open("wb") as file:
        file.truncate(size)
    return Path(path)
