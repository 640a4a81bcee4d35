"""What every store does the same with leases, on a real server each."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from threading import Barrier
from typing import Any

import pytest

from plugin_framework.engines.cluster.records import (
    Ending,
    Lease,
    SharedUpload,
    Sight,
)
from plugin_framework.engines.cluster.store import LeaseStore
from plugin_framework.errors import LeaseLostError
from plugin_framework.journal.uploads import KeptPart, Output
from tests.engines.cluster.conftest import OpenStore, taken

DONE = Ending(3, "/result", b'{"rows": 7}', {"status": "completed", "attempt": 1})
FAILED = Ending(5, "/status", b'{"error": "x"}', {"status": "failed"})
UPLOAD = SharedUpload("a.bin", "u1", size=10**15 + 1, chunk=5, part_size=6, sealed_urls="sealed")
OUTPUT = Output("a.bin", 10**15 + 1, "ab12")
PART = KeptPart('"etag"', "digest")


def test_each_lease_has_the_next_number(store: LeaseStore) -> None:
    store.open("service", ["s"])
    first = store.acquire("s", "one", seen=None)
    assert first == Lease("s", 1, "one")
    assert store.look("s") == Sight(1, 0, "one", held=True)
    store.release(first)
    assert store.look("s") == Sight(1, 0, "one", held=False)
    assert taken(store, node="two") == Lease("s", 2, "two")
    assert taken(store, node="three") == Lease("s", 3, "three")


def test_attempts_that_began_and_are_lost_are_counted(store: LeaseStore) -> None:
    store.open("service", ["s"])
    assert taken(store).losses == 0
    assert taken(store).losses == 0  # that one had not begun
    for losses in (1, 2):
        store.set_begun(taken(store), begun=True)
        assert taken(store).losses == losses
    called_off = taken(store)
    store.set_begun(called_off, begun=True)
    store.set_begun(called_off, begun=False)
    store.release(called_off)
    last = taken(store)
    assert last.losses == 2  # who gives back what it has not begun proves nothing
    store.set_begun(last, begun=True)
    store.release(last)
    assert taken(store).losses == 0
    store.set_begun(taken(store), begun=True)
    last = taken(store)
    store.end(last, DONE)
    store.settle("s", "delivered")
    store.noticed(["s"])
    store.open("service", ["s"])
    assert taken(store).losses == 0


def test_a_lease_is_taken_only_as_it_was_seen(store: LeaseStore) -> None:
    seen = store.look("s")
    assert seen is None
    lease = taken(store)
    assert store.acquire("s", "two", seen=None) is None
    seen = store.look("s")
    assert store.renew([lease]) == {"s"}
    assert store.acquire("s", "two", seen=seen) is None
    seen = store.look("s")
    assert seen == Sight(1, 1, "one", held=True)
    store.release(lease)
    assert store.acquire("s", "two", seen=seen) is None
    assert store.acquire("pruned", "two", seen=seen) is None


def test_beats_are_added_to_those_that_are_still_held(store: LeaseStore) -> None:
    leases = [taken(store, subtask) for subtask in ("a", "b", "c")]
    taken(store, "b", "two")
    store.release(leases[2])
    unknown = Lease("d", 1, "one")
    assert store.renew([*reversed(leases), unknown]) == {"a"}
    sights = [store.look(subtask) for subtask in ("a", "b", "c")]
    assert [sight.beats for sight in sights if sight] == [1, 0, 0]


WRITES: dict[str, Callable[[LeaseStore, Lease], Any]] = {
    "end": lambda store, lease: store.end(lease, FAILED),
    "set_begun": lambda store, lease: store.set_begun(lease, begun=True),
    "load": lambda store, lease: store.load(lease),
    "save_state": lambda store, lease: store.save_state(lease, {"line": 8}),
    "begin_upload": lambda store, lease: store.begin_upload(lease, replace(UPLOAD, upload_id="x")),
    "keep_part": lambda store, lease: store.keep_part(lease, "a.bin", "u1", 2, PART),
    "complete_upload": lambda store, lease: store.complete_upload(lease, OUTPUT, "u1"),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("how", ["taken over", "given back", "of another node", "gone"])
def test_who_lost_the_lease_writes_nothing(
    store: LeaseStore, write: Callable[[LeaseStore, Lease], Any], how: str
) -> None:
    lost = holder = taken(store)
    store.save_state(holder, {"line": 7})
    store.begin_upload(holder, UPLOAD)
    before = store.load(holder)
    if how == "taken over":
        holder = taken(store, node="two")
    elif how == "given back":
        store.release(holder)
    else:
        lost = replace(holder, **{"node": "two"} if how == "of another node" else {"number": 9})
    with pytest.raises(LeaseLostError, match=r"subtask s .*another node has it"):
        write(store, lost)
    store.release(lost)  # says nothing, and does nothing
    assert store.ending("s") is None
    holder = taken(store, node="three") if how == "given back" else holder
    assert store.load(holder) == before


def test_of_many_that_want_a_lease_one_gets_it(open_one: OpenStore) -> None:
    """1,000 leases, which two threads want at the same time each."""
    racers = [(f"node-{number}", open_one()) for number in range(2)]
    subtasks = [f"s{number}" for number in range(1000)]
    start = Barrier(len(racers))

    def race(node: str, store: LeaseStore) -> set[str]:
        start.wait()
        return {one for one in subtasks if store.acquire(one, node, seen=None)}

    with ThreadPoolExecutor() as pool:
        won = list(pool.map(lambda racer: race(*racer), racers))
    assert won[0].isdisjoint(won[1])
    assert won[0] | won[1] == set(subtasks)
    for (node, store), mine in zip(racers, won, strict=True):
        assert {
            one for one in subtasks if (sight := store.look(one)) and sight.node == node
        } == mine


def test_those_who_take_one_lease_from_each_other_never_share_a_number(
    open_one: OpenStore,
) -> None:
    stores = [open_one() for _ in range(2)]
    start = Barrier(4)

    def race(number: int) -> list[int]:
        store, won = stores[number % 2], []
        start.wait()
        while (seen := store.look("s")) is None or seen.number < 200:
            lease = store.acquire("s", f"node-{number}", seen=seen)
            if lease is not None:
                won.append(lease.number)
                assert store.renew([lease]) <= {"s"}
        return won

    with ThreadPoolExecutor() as pool:
        numbers = [one for won in pool.map(race, range(4)) for one in won]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))


def test_an_attempt_is_fenced_by_the_next_whatever_it_is_doing(open_one: OpenStore) -> None:
    """A thread writes as fast as it can; what it had written when the lease was taken, stands."""
    first, second = open_one(), open_one()
    lease = taken(first)
    begun = Barrier(2)

    def write() -> int:
        for number in count():
            try:
                first.save_state(lease, {"n": number})
            except LeaseLostError:
                return number - 1
            if number == 20:
                begun.wait()
        raise AssertionError

    with ThreadPoolExecutor() as pool:
        last = pool.submit(write)
        begun.wait()
        while (successor := second.acquire("s", "two", seen=second.look("s"))) is None:
            pass
        found = second.load(successor).state["n"]
        assert found == last.result()
    assert second.load(successor).state["n"] == found


@pytest.mark.parametrize("jump", [-40 * 365 * 86400.0, 40 * 365 * 86400.0])
def test_no_lease_depends_on_a_clock(
    store: LeaseStore, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    store.open("service", ["s"])
    lease = taken(store)
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() + jump)
    assert store.renew([lease]) == {"s"}
    store.save_state(lease, {"line": 7})
    assert store.acquire("s", "two", seen=None) is None
    monkeypatch.undo()
    assert store.renew([lease]) == {"s"}
    assert store.look("s") == Sight(1, 2, "one", held=True)
    assert store.load(lease).state == {"line": 7}
