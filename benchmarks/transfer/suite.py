"""Transfers beside other clients and beside the limit, a client in C that only moves bytes."""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import trustme

from benchmarks.transfer import report
from benchmarks.transfer.build import CannotBuildError, build
from benchmarks.transfer.bulk import PART, Cell, Results, Series, measure, repeated
from benchmarks.transfer.clients import (
    CLIENTS,
    OURS,
    SEQUENTIAL,
    SMALL,
    Client,
    Workplace,
    named,
)
from benchmarks.transfer.job import MIB, Job
from benchmarks.transfer.servers import Delay, Store
from benchmarks.transfer.sizes import Sizes, sizes_of_environment

BLOCK = 64 * MIB
ROUND_TRIP_MS = 50
SMALL_BYTES = 10_000
SMALL_ROUND_TRIP_MS = 10
PARTS_PER_FAILURE = 1000
SMALLEST_PART, SMALLEST_RANGE = 5 * MIB, MIB


@dataclass(slots=True)
class Findings:
    """All that was measured, scenario by scenario."""

    sizes: Sizes
    bulk: Results = field(default_factory=dict)
    delayed: Results = field(default_factory=dict)
    failing: dict[bool, tuple[Series, Series]] = field(default_factory=dict)
    memory: dict[int, Series] = field(default_factory=dict)
    small: dict[str, Series] = field(default_factory=dict)


def main() -> None:
    """Measure all, and write the report."""
    sizes = sizes_of_environment()
    try:
        with _bench(sizes, CLIENTS) as bench:
            found = bench.everything()
    except CannotBuildError as error:
        sys.exit(f"cannot measure transfers: {error}")
    report.write(found)


@contextmanager
def _bench(sizes: Sizes, clients: Sequence[Client]) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(dir=sizes.folder) as made:
        yield Bench(sizes, Path(made), clients)


class Bench:
    """A folder with programs, files and a certificate."""

    def __init__(self, sizes: Sizes, folder: Path, clients: Sequence[Client]) -> None:
        build(folder)
        self._sizes = sizes
        self._folder = folder
        self._clients = clients
        self._place = Workplace(folder, folder)
        self._certificate, self._authority = folder / "certificate.pem", folder / "authority.pem"
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        certificate.private_key_and_cert_chain_pem.write_to_path(self._certificate)
        authority.cert_pem.write_to_path(self._authority)
        block = random.Random(1).randbytes(BLOCK)
        self._block, self._source = folder / "block", folder / "source"
        self._block.write_bytes(block)
        with self._source.open("wb") as file:
            file.writelines(repeated(block, sizes.size))

    def everything(self) -> Findings:
        """Run all scenarios."""
        found = Findings(self._sizes)
        steps: tuple[Callable[[Findings], None], ...] = (
            self.bulk,
            self.delayed,
            self.failing,
            self.small,
            self.memory,
        )
        for step in steps:
            step(found)
        return found

    def bulk(self, found: Findings) -> None:
        """Every client in every cell."""
        for cell in self._cells():
            _say(cell.title)
            with self._store(secure=cell.secure) as store:
                measured = self._measure(cell, self._clients, self._job(cell, store), store)
            found.bulk |= {(cell, name): series for name, series in measured.items()}

    def delayed(self, found: Findings) -> None:
        """Through a proxy that delays."""
        clients = named(OURS, "curl")
        for cell in self._cells():
            if not cell.secure:
                continue
            _say(f"{cell.title}, {ROUND_TRIP_MS} ms")
            with (
                self._store(secure=True) as store,
                Delay(self._folder, store, ROUND_TRIP_MS) as delay,
            ):
                job = replace(self._job(cell, store), origin=delay.origin)
                measured = self._measure(cell, clients, job, store)
            found.delayed |= {(cell, name): series for name, series in measured.items()}

    def failing(self, found: Findings) -> None:
        """One part in a thousand fails, and none, in turn."""
        for up in (True, False):
            _say(f"https {'up' if up else 'down'}, failing parts")
            part = SMALLEST_PART if up else SMALLEST_RANGE
            size = PARTS_PER_FAILURE * part
            cell = Cell(secure=True, up=up, concurrency=4)
            with ExitStack() as stack:
                stores = [
                    stack.enter_context(self._store(secure=True, size=size, fail=fail))
                    for fail in (0, PARTS_PER_FAILURE)
                ]
                series = Series(), Series()
                for _ in range(self._sizes.rounds):
                    for store, kept in zip(stores, series, strict=True):
                        job = replace(self._job(cell, store), size=size, part=part)
                        job = replace(job, file=self._sparse(size)) if up else job
                        once = measure(cell, named(OURS), job, store, self._place, rounds=1)
                        kept.runs += once[OURS].runs
                        kept.failure = kept.failure or once[OURS].failure
            found.failing[up] = series

    def small(self, found: Findings) -> None:
        """Many small files, with a round trip that is more than nothing."""
        count = self._sizes.small_files
        _say(f"{count} small files")
        folder = self._folder / "small"
        folder.mkdir()
        for index in range(count):
            (folder / str(index)).write_bytes(bytes(SMALL_BYTES))
        cell = Cell(secure=True, up=True, concurrency=8)
        with (
            self._store(secure=True) as store,
            Delay(self._folder, store, SMALL_ROUND_TRIP_MS) as delay,
        ):
            job = replace(
                self._job(cell, store),
                origin=delay.origin,
                file=str(folder),
                size=count * SMALL_BYTES,
                part=SMALL_BYTES,
            )
            for client, rounds in ((SMALL, self._sizes.rounds), (SEQUENTIAL, 1)):
                found.small |= measure(cell, [client], job, store, self._place, rounds=rounds)

    def memory(self, found: Findings) -> None:
        """Peaks at two sizes."""
        cell = Cell(secure=True, up=True, concurrency=8)
        for size in (1024 * MIB, self._sizes.large):
            _say(f"memory, {size // 1024 // MIB} GiB")
            with self._store(secure=True, size=size) as store:
                job = replace(self._job(cell, store), size=size, file=self._sparse(size))
                found.memory[size] = self._measure(cell, named(OURS), job, store, rounds=1)[OURS]

    def _cells(self) -> list[Cell]:
        return [
            Cell(secure, up, concurrency)
            for secure in (True, False)
            for up in (True, False)
            for concurrency in self._sizes.concurrencies
        ]

    def _measure(
        self,
        cell: Cell,
        clients: Sequence[Client],
        job: Job,
        store: Store,
        rounds: int | None = None,
    ) -> dict[str, Series]:
        many = rounds or self._sizes.rounds
        return measure(cell, clients, job, store, self._place, rounds=many)

    def _job(self, cell: Cell, store: Store) -> Job:
        return Job(
            up=cell.up,
            origin=store.origin,
            file=str(self._source if cell.up else self._folder / "target"),
            size=self._sizes.size,
            part=PART,
            concurrency=cell.concurrency,
            authority=str(self._authority),
        )

    def _store(self, *, secure: bool, size: int | None = None, fail: int = 0) -> Store:
        return Store(
            self._folder,
            block=self._block,
            size=size or self._sizes.size,
            certificate=self._certificate if secure else None,
            fail=fail,
        )

    def _sparse(self, size: int) -> str:
        """A file of zeros in no space."""
        path = self._folder / "sparse"
        with path.open("wb") as file:
            file.truncate(size)
        return str(path)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
