"""How long a lease surely stands, and what is told while it does."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from plugin_framework.engines.cluster.fenced import Fence
from plugin_framework.engines.cluster.holding import Gate, Holdings, now
from plugin_framework.engines.cluster.journal_store import JournalStore
from plugin_framework.engines.cluster.records import Lease
from plugin_framework.engines.cluster.store import LeaseStore
from plugin_framework.errors import LeaseLostError, StoreUnreachableError
from plugin_framework.journal.journal import Journal
from plugin_framework.protocol.client import result_report, status_report
from plugin_framework.protocol.models import TaskStatus
from tests.engines.cluster.nodes import Wire
from tests.lifecycle.running import SUBTASK, eventually

SECONDS = 0.6


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LeaseStore]:
    with closing(Journal(tmp_path / "store.sqlite3")) as journal:
        yield JournalStore(journal)


@pytest.fixture
def wire(store: LeaseStore) -> Wire:
    return Wire(store)


@pytest.fixture
def holdings(wire: Wire) -> Iterator[Holdings]:
    with closing(Holdings(cast("LeaseStore", wire), SECONDS)) as holdings:
        yield holdings


def acquired(store: LeaseStore, node: str = "a", subtask_id: str = SUBTASK) -> Lease:
    """Whoever has it."""
    while (lease := store.acquire(subtask_id, node, seen=store.look(subtask_id))) is None:
        pass
    return lease


def held(store: LeaseStore, holdings: Holdings) -> Gate:
    asked_at = now()
    return holdings.hold(acquired(store), asked_at)


def test_leases_are_renewed_together_as_long_as_they_are_held(
    store: LeaseStore, holdings: Holdings
) -> None:
    leases = [acquired(store, subtask_id=f"s{number}") for number in range(3)]
    gates = [holdings.hold(lease, now()) for lease in leases]

    def beats() -> list[int]:
        return [sight.beats for number in range(3) if (sight := store.look(f"s{number}"))]

    eventually(lambda: min(beats()) >= 4)
    assert all(0 < gate.check() <= SECONDS for gate in gates)
    holdings.drop(leases[0])
    before = beats()
    eventually(lambda: min(beats()[1:]) >= max(before) + 2)
    assert beats()[0] <= before[0] + 1
    assert not any(gate.lost.is_set() for gate in gates)


def test_who_was_not_heard_for_long_waits_until_it_is_sure(
    store: LeaseStore, wire: Wire, holdings: Holdings
) -> None:
    gate = held(store, holdings)
    wire.is_cut.set()
    assert gate.check() > 0  # it stands whatever happens, for now
    eventually(lambda: _raises(gate))
    assert not gate.lost.is_set()
    threading.Timer(SECONDS / 4, wire.is_cut.clear).start()
    assert gate.check() > 0


def test_who_finds_another_there_is_told_at_once(store: LeaseStore, holdings: Holdings) -> None:
    gate, told = held(store, holdings), threading.Event()
    gate.when_lost(told.set)
    acquired(store, "b")
    assert told.wait(10)
    with pytest.raises(LeaseLostError, match="another node"):
        gate.check()
    late = threading.Event()
    gate.when_lost(late.set)
    assert late.wait(10)


def test_what_is_told_when_a_lease_is_lost_delays_no_other(
    store: LeaseStore, holdings: Holdings
) -> None:
    gate, hold = held(store, holdings), threading.Event()
    gate.when_lost(lambda: hold.wait(30))
    other = holdings.hold(acquired(store, subtask_id="other"), now())
    acquired(store, "b")
    assert gate.lost.wait(10)
    for _ in range(3):
        assert other.check() > 0
        hold.wait(SECONDS / 2)
    hold.set()


def _raises(gate: Gate) -> bool:
    try:
        return gate.check() <= 0
    except StoreUnreachableError:
        return True


class Endings:
    """Has those that it is given."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, bytes]] = []

    def is_kept(self, path: str, body: bytes) -> bool:
        return (path, body) in self.kept


def test_reports_of_an_attempt_have_the_time_of_its_lease_and_endings_wait_for_the_store(
    store: LeaseStore, holdings: Holdings
) -> None:
    gate, endings = held(store, holdings), Endings()
    fence = Fence(gate, endings)
    running = status_report(SUBTASK, TaskStatus.RUNNING)
    assert 0 < fence(*running) <= SECONDS
    assert 0 < fence("/api/task/heartbeat", b"{}") <= SECONDS
    assert fence("/api/task/upload/complete", b"{}") == math.inf
    for ending in (status_report(SUBTASK, TaskStatus.FAILED), result_report(SUBTASK, {"n": 1})):
        with pytest.raises(StoreUnreachableError, match="not in the store yet"):
            fence(*ending)
        endings.kept.append(ending)
        assert fence(*ending) == math.inf
    acquired(store, "b")
    assert gate.lost.wait(10)
    for call in (running, endings.kept[0], ("/api/task/upload/init", b"{}")):
        with pytest.raises(LeaseLostError):
            fence(*call)
    assert fence("/api/task/notify", b"") == math.inf
