"""What is left of attempts on a machine where they do not go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from plugin_framework.engines.cluster import leftovers
from plugin_framework.engines.cluster.attempt import Fate
from plugin_framework.engines.cluster.leftovers import Leftovers, remove_leftovers
from plugin_framework.engines.cluster.records import Ending
from plugin_framework.errors import StoreUnreachableError
from plugin_framework.lifecycle.folders import (
    lock_file_of,
    make_same_work_dir,
    make_work_dir,
    subtask_lock,
    work_dir_of,
)
from tests.engines.cluster.nodes import Cluster
from tests.engines.cluster.plugins import Travels
from tests.lifecycle.running import SUBTASK, eventually
from tests.strict_datahub import StrictDatahub

DONE = Ending(3, "", b"", {}, "delivered")


@pytest.fixture
def hub() -> Iterator[StrictDatahub]:
    with StrictDatahub(SUBTASK) as hub:
        yield hub


@pytest.fixture
def cluster(hub: StrictDatahub, tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(hub, tmp_path) as cluster:
        yield cluster


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "a"


def leave(state_dir: Path, subtask_id: str, place: str = "") -> None:
    """What a killed attempt leaves."""
    place = place or subtask_id
    lock_file = lock_file_of(state_dir, place)
    with subtask_lock(state_dir, place):
        make_same_work_dir(state_dir, subtask_id, None, place=place)
        held = lock_file.read_text()
    (work_dir_of(state_dir, place) / "big").touch()
    lock_file.write_text(held)


def left(state_dir: Path) -> list[Path]:
    return [path for kind in ("work", "locks") for path in (state_dir / kind).iterdir()]


def remove(state_dir: Path, cluster: Cluster) -> int:
    return remove_leftovers(state_dir, cluster.store, threading.Event())


def test_what_ended_elsewhere_or_is_unknown_is_removed(cluster: Cluster, state_dir: Path) -> None:
    leave(state_dir, SUBTASK)
    leave(state_dir, SUBTASK, f"{SUBTASK} 2")
    leave(state_dir, "unknown")
    cluster.store.end(cluster.dead(), DONE)
    assert remove(state_dir, cluster) == 3
    assert left(state_dir) == []


def test_what_may_go_on_is_kept(cluster: Cluster, state_dir: Path) -> None:
    leave(state_dir, SUBTASK)
    assert remove(state_dir, cluster) == 0
    cluster.dead()
    assert remove(state_dir, cluster) == 0
    assert (work_dir_of(state_dir, SUBTASK) / "big").exists()
    with subtask_lock(state_dir, SUBTASK) as was_killed:
        assert was_killed


def test_what_is_in_use_is_kept(cluster: Cluster, state_dir: Path) -> None:
    leave(state_dir, SUBTASK)
    cluster.store.end(cluster.dead(), DONE)
    with subtask_lock(state_dir, SUBTASK):
        assert remove(state_dir, cluster) == 0
        assert (work_dir_of(state_dir, SUBTASK) / "big").exists()
    assert remove(state_dir, cluster) == 1


def test_what_is_begun_anew_meanwhile_is_kept(
    cluster: Cluster, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(state_dir, SUBTASK)
    cluster.store.end(cluster.dead(), DONE)
    found = cluster.store.ending

    def ending(subtask_id: str) -> Ending | None:
        old = found(subtask_id)
        monkeypatch.undo()
        cluster.store.noticed([SUBTASK])
        cluster.store.open("service", [SUBTASK])
        return old

    monkeypatch.setattr(cluster.store, "ending", ending)
    assert remove(state_dir, cluster) == 0
    assert work_dir_of(state_dir, SUBTASK).exists()


def test_what_is_of_no_cluster_is_kept(cluster: Cluster, state_dir: Path) -> None:
    with subtask_lock(state_dir, "by hand"):
        make_work_dir(state_dir, "by hand")
    assert remove(state_dir, cluster) == 0
    assert len(left(state_dir)) == 2


def test_a_mark_that_was_not_written_to_its_end_hinders_nobody(
    cluster: Cluster, state_dir: Path
) -> None:
    leave(state_dir, SUBTASK)
    work_dir_of(state_dir, SUBTASK).with_suffix(".id").write_text("{")
    cluster.store.end(cluster.dead(), DONE)
    assert remove(state_dir, cluster) == 0
    _, is_new = make_same_work_dir(state_dir, SUBTASK, None, place=SUBTASK)
    assert is_new
    assert remove(state_dir, cluster) == 1


def test_who_lost_the_lease_leaves_nothing_for_long(
    cluster: Cluster, hub: StrictDatahub, state_dir: Path
) -> None:
    """It removes its files, but for those that a later attempt here would need to be safe."""
    first, second = cluster.node(Travels, "a"), cluster.node(Travels, "b")
    first.begin()
    first.works(1)
    first.wire.is_cut.set()
    second.begin()
    second.works(2)
    first.wire.is_cut.clear()
    assert first.end().fate is Fate.DUPLICATE
    assert not work_dir_of(state_dir, SUBTASK).exists()
    assert remove(state_dir, cluster) == 0
    second.go()
    assert second.end().fate is Fate.DONE
    assert hub.violations == []
    assert remove(state_dir, cluster) == 1
    assert left(state_dir) == []


def test_they_are_looked_for_again_after_the_store_was_away(
    cluster: Cluster, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    def ending(_: str) -> Ending | None:
        asked.set()
        raise StoreUnreachableError("the network is cut")

    leave(state_dir, "unknown")
    monkeypatch.setattr(leftovers, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(cluster.store, "ending", ending)
    with closing(Leftovers(state_dir, cluster.store)) as looking:
        assert asked.wait(30)
        monkeypatch.delattr(cluster.store, "ending")
        eventually(lambda: left(state_dir) == [])
    assert not looking._thread.is_alive()
