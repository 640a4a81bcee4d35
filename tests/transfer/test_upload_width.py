"""How many pieces are under way at once: of one transfer, and of all in a process."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_framework.errors import LocalFileError
from plugin_framework.transfer.engine import AbortedError, EngineOptions
from plugin_framework.transfer.parallel import RECOVERY, Reins, Shares, Width, persist, run_all

GOING = threading.Event()


@given(st.integers(1, 64), st.lists(st.booleans(), max_size=300))
def test_a_width_stays_within_its_bounds_and_comes_back(most: int, slow_downs: list[bool]) -> None:
    width = Width(most)
    for slow_down in slow_downs:
        before = width.now
        if slow_down:
            width.narrow()
            assert width.now == max(1, before // 2)
        else:
            width.succeeded()
            assert before <= width.now <= before + 1
        assert 1 <= width.now <= most
    for _ in range(RECOVERY * most):
        width.succeeded()
    assert width.now == most


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 20))
def test_no_more_pieces_are_under_way_than_the_width_allows(
    most: int, narrowings: int, pieces: int
) -> None:
    width, lock, seen = Width(most), threading.Lock(), [0, 0]
    for _ in range(narrowings):
        width.narrow()

    def work(_piece: int, stop: Reins) -> None:
        with width.slot(stop):
            with lock:
                seen[0] += 1
                seen[1] = max(seen)
                assert seen[0] <= most
            with lock:
                seen[0] -= 1

    run_all(range(pieces), work, width=width, tick=lambda: None)
    assert 1 <= seen[1] <= most


def test_places_are_shared_out_to_who_has_the_fewest() -> None:
    shares, greedy, modest = Shares(), Width(64), Width(64)
    order: list[str] = []
    done = threading.Event()

    def take(who: Width, name: str) -> None:
        with shares.slot(who, 4, GOING):
            order.append(name)
            done.wait(20)

    def wait_for(count: int, of: list[Any]) -> None:
        deadline = time.monotonic() + 20
        while len(of) < count:
            assert time.monotonic() < deadline
            done.wait(0.005)

    held = [shares.slot(greedy, 4, GOING) for _ in range(4)]
    for place in held:
        place.__enter__()
    threads = [threading.Thread(target=take, args=(greedy, "greedy")) for _ in range(3)]
    threads += [threading.Thread(target=take, args=(modest, "modest")) for _ in range(2)]
    for number, thread in enumerate(threads, 1):
        thread.start()
        wait_for(number, shares._waiting)
    for number, place in enumerate(held, 1):
        place.__exit__(None, None, None)
        wait_for(number, order)
    done.set()
    for thread in threads:
        thread.join(20)
    assert order == ["modest", "modest", "greedy", "greedy", "greedy"]
    assert shares._taken.total() == 0


def test_a_process_has_its_own_limit() -> None:
    """Three transfers of four pieces at once, in a process that may have two."""
    options = EngineOptions(concurrency=4, process_concurrency=2)
    lock, now, most = threading.Lock(), [0], [0]

    def attempt() -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        threading.Event().wait(0.002)
        with lock:
            now[0] -= 1

    def transfer() -> None:
        width = Width(4)
        run_all(
            range(12),
            lambda _piece, stop: persist(attempt, options=options, stop=stop, width=width),
            width=width,
            tick=lambda: None,
        )

    threads = [threading.Thread(target=transfer) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert 1 <= most[0] <= 2


def test_a_width_comes_back_by_the_attempts_of_many_transfers() -> None:
    """Each of one piece, and without a crew of its own."""
    options, width = EngineOptions(concurrency=4), Width(4)
    width.narrow()
    for _ in range(RECOVERY * 2):
        assert persist(lambda: 7, options=options, stop=GOING, width=width) == 7
    assert width.now == 4


def test_while_it_is_held_nothing_starts_and_no_place_is_kept() -> None:
    options = EngineOptions(concurrency=1, process_concurrency=1)
    width, stop = Width(1), Reins()
    held, go, made = threading.Event(), threading.Event(), threading.Event()

    def tick() -> None:
        held.set()
        assert go.wait(20)

    holder = threading.Thread(target=stop.hold, args=(tick,))
    holder.start()
    assert held.wait(20)
    worker = threading.Thread(
        target=persist, args=(made.set,), kwargs={"options": options, "stop": stop, "width": width}
    )
    worker.start()
    other = Width(1)
    assert persist(lambda: 7, options=options, stop=threading.Event(), width=other) == 7
    assert not made.is_set()
    go.set()
    assert made.wait(20)
    worker.join(20)
    holder.join(20)


def test_the_first_error_ends_all_and_is_raised() -> None:
    started = threading.Barrier(3)

    def work(piece: int, stop: Reins) -> None:
        started.wait(20)
        if piece == 1:
            raise LocalFileError("the second")
        assert stop.wait(20)
        raise AbortedError("of no interest")

    with pytest.raises(LocalFileError, match="the second"):
        run_all(range(3), work, width=Width(3), tick=lambda: None)


def test_pieces_start_in_order_once_they_are_ready() -> None:
    ready, seen = threading.Event(), []
    ticks = iter(range(1000))

    def tick() -> None:
        if next(ticks) == 3:
            ready.set()

    run_all(
        range(4),
        lambda piece, _stop: seen.append((piece, ready.is_set())),
        width=Width(1),
        tick=tick,
        ready=lambda piece: piece < 1 or ready.is_set(),
    )
    assert seen == [(0, False), (1, True), (2, True), (3, True)]
