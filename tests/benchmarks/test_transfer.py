"""The benchmark of transfers itself: small, and without the peers that are installed for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.transfer import report
from benchmarks.transfer.build import CannotBuildError
from benchmarks.transfer.bulk import Cell
from benchmarks.transfer.clients import LIMIT, OURS, Client, named
from benchmarks.transfer.job import MIB
from benchmarks.transfer.sizes import Sizes
from benchmarks.transfer.suite import Bench, Findings

SIZES = Sizes(32 * MIB, 64 * MIB, 1, (2,), 20, Path())
FAILING = Client("failing", lambda _job, _place: ([sys.executable, "-c", "exit('no luck')"], {}))
ABSENT = replace(FAILING, name="absent", needs="no-such-program")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    clients = [*named(LIMIT, OURS, "httpx"), FAILING, ABSENT]
    try:
        yield Bench(SIZES, tmp_path_factory.mktemp("bench"), clients)
    except CannotBuildError as error:
        pytest.skip(str(error))


@pytest.mark.long
def test_every_way_is_measured_and_shown(bench: Bench, tmp_path: Path) -> None:
    found = Findings(SIZES)
    bench.bulk(found)
    bench.delayed(found)
    bench.small(found)
    assert len({cell for cell, _ in found.bulk}) == 4
    for (_, name), series in found.bulk.items():
        if name in (LIMIT, OURS, "httpx"):
            assert series.failure is None
            assert all(run.seconds > 0 and run.cpu_seconds > 0 for run in series.runs)
    assert found.delayed[Cell(secure=True, up=True, concurrency=2), OURS].failure is None
    assert all(series.failure is None for series in found.small.values())
    report.write(found, tmp_path)
    page = (tmp_path / "benchmarks.md").read_text()
    assert "| ours |" in page
    assert "- failing could not be measured: exit status 1: no luck." in page
    assert "- absent could not be measured: no no-such-program here." in page
    assert (tmp_path / "transfers.png").stat().st_size > 1000
