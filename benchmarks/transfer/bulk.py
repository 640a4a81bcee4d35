"""One large file: every client in turn, round after round, in every cell."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.transfer.clients import LIMIT, Client, Workplace
from benchmarks.transfer.job import MIB, Job
from benchmarks.transfer.measure import FailedRunError, Run, run
from benchmarks.transfer.servers import Store

PART = 16 * MIB


@dataclass(frozen=True, slots=True)
class Cell:
    """One way of moving the file."""

    secure: bool
    up: bool
    concurrency: int

    @property
    def title(self) -> str:
        """As a table's head has it."""
        way = "up" if self.up else "down"
        return f"{'https' if self.secure else 'http'} {way}, {self.concurrency}"


@dataclass(slots=True)
class Series:
    """What a client did in a cell: a run for each round, or why there is none."""

    runs: list[Run] = field(default_factory=list)
    failure: str | None = None

    def median(self, of: Callable[[Run], float]) -> float | None:
        """The median over the rounds; None where it failed."""
        return statistics.median(map(of, self.runs)) if self.runs and not self.failure else None


Results = dict[tuple[Cell, str], Series]


def measure(
    cell: Cell,
    clients: Sequence[Client],
    job: Job,
    store: Store,
    place: Workplace,
    *,
    rounds: int,
) -> dict[str, Series]:
    """Run all clients in each round, and begin each round with another."""
    found = {client.name: Series() for client in clients}
    _warm(clients, job, store, place)
    for number in range(rounds):
        turn = number % len(clients)
        for client in [*clients[turn:], *clients[:turn]]:
            series = found[client.name]
            if cell.up not in client.ways:
                series.failure = "cannot"
            series.failure = series.failure or client.missing
            if series.failure:
                continue
            try:
                series.runs.append(run(client, job, store, place))
                if not job.up and number == 0:
                    _check(job, place)
            except FailedRunError as error:
                series.failure = str(error)
            finally:
                clean(job)
    return found


def _warm(clients: Sequence[Client], job: Job, store: Store, place: Workplace) -> None:
    """Have the memory that files are written to touched once: the first to do so is slower."""
    for client in clients:
        if client.name == LIMIT:
            run(client, job, store, place)
            clean(job)


def ratios(found: dict[str, Series], name: str, against: str = LIMIT) -> list[float]:
    """In each round, how fast ``name`` was as a part of ``against``."""
    pairs = zip(found[name].runs, found[against].runs, strict=False)
    return [] if found[name].failure else [theirs.seconds / its.seconds for its, theirs in pairs]


def clean(job: Job) -> None:
    """Remove what a download wrote."""
    if not job.up:
        for path in _written(job):
            path.unlink()


def _written(job: Job) -> list[Path]:
    target = Path(job.file)
    return sorted(target.parent.glob(f"*{target.name}*"), key=lambda path: (len(str(path)), path))


def _check(job: Job, place: Workplace) -> None:
    """See that every byte arrived.

    Raises:
        FailedRunError: not so.
    """
    target = Path(job.file)
    files = [target] if target.exists() else _written(job)
    expected = repeated((place.scratch / "block").read_bytes(), job.size)
    for path in files:
        with path.open("rb") as file:
            while data := file.read(MIB):
                if data != next(expected):
                    raise FailedRunError("it wrote wrong bytes")
    if next(expected, None) is not None:
        raise FailedRunError("it wrote too few bytes")


def repeated(block: bytes, size: int) -> Iterator[bytes]:
    """``size`` bytes in MiB: the block, over and over."""
    for at in range(0, size, MIB):
        start = at % len(block)
        yield block[start : start + min(MIB, size - at)]
