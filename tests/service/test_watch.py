"""What nobody has is handed over again, once that is sure, and what is paused is left alone."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from plugin_framework.engines.cluster.journal_store import JournalStore
from plugin_framework.engines.cluster.records import Sight
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.service import remote_dispatcher
from plugin_framework.service.missing import LOOKS, Repeats, Shortages
from tests.service.remote import DEADLINE, LEASE_SECONDS, Kept, Remote, Store, beating, until

RUNNING, PAUSED = TaskStatus.RUNNING, TaskStatus.PAUSED


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_dispatcher, "LOOK_SECONDS", 0.02)


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    with Remote(tmp_path) as running:
        yield running


def test_what_the_store_forgot_is_published_again(remote: Remote) -> None:
    remote.create("s")
    remote.engine.message()
    remote.acquire("s")
    until(lambda: remote.state("s") == "running")
    remote.store.forget("s")
    assert remote.engine.message().subtask_id == "s"
    remote.end(remote.acquire("s", "node-2"))
    remote.gone("s")


def test_what_is_given_back_while_the_store_is_away_is_not_lost(remote: Remote) -> None:
    remote.create("s")
    remote.engine.message()
    lease = remote.acquire("s")
    with beating(remote, lease):
        until(lambda: remote.state("s") == "running")
    remote.store.down = True
    threading.Event().wait(LEASE_SECONDS)  # it looks, and is not answered
    JournalStore(remote.journal).release(lease)
    remote.store.down = False
    until(lambda: remote.state("s") == "handed")
    assert remote.engine.message().attempt == 2


def test_what_a_node_gave_back_for_it_is_paused_is_sent_once_it_goes_on(remote: Remote) -> None:
    remote.create("paused", "lost")
    remote.engine.message()
    remote.engine.message()
    remote.manage("paused", PAUSED)
    remote.store.release(remote.acquire("paused"))
    until(lambda: remote.state("paused") == "waiting")
    for _ in range(2):  # it would be missed as the other one is
        assert remote.engine.message().subtask_id == "lost"
    assert remote.engine.messages.empty()
    assert remote.backlog.counts()["paused"] == 1
    with beating(remote, remote.acquire("lost")):
        until(lambda: remote.state("lost") == "running")
        remote.manage("paused", RUNNING)
        again = remote.engine.message()
        assert (again.subtask_id, again.attempt) == ("paused", 2)
        remote.end(remote.acquire("paused", "node-2"))
        remote.gone("paused")
    kinds = [event.kind for event in remote.journal.timeline.events("paused")]
    assert "published again" not in kinds


def test_what_is_paused_in_the_queue_is_not_missed(remote: Remote) -> None:
    remote.create("paused", "lost")
    remote.engine.message()
    remote.engine.message()
    remote.manage("paused", PAUSED)
    for _ in range(2):
        assert remote.engine.message().subtask_id == "lost"
    assert remote.engine.messages.empty()
    assert remote.state("paused") == "handed"


def test_what_is_paused_stays_so_in_another_life_of_the_service(tmp_path: Path) -> None:
    with Remote(tmp_path) as remote:
        remote.create("s")
        remote.engine.message()
        remote.manage("s", PAUSED)
        remote.store.release(remote.acquire("s"))
        until(lambda: remote.state("s") == "waiting")
    with Remote(tmp_path) as remote:
        remote.create("t")
        assert remote.engine.message().subtask_id == "t"
        assert remote.state("s") == "waiting"
        until(lambda: remote.backlog.counts()["paused"] == 1)
        with beating(remote, remote.acquire("t")):
            remote.manage("s", RUNNING)
            assert remote.engine.message().subtask_id == "s"


def test_what_others_have_overtaken_is_published_again(remote: Remote) -> None:
    remote.create("lost")
    remote.engine.message()
    remote.create("taken")
    until(lambda: remote.engine.messages.qsize() == 1)
    remote.create("queued")
    until(lambda: remote.engine.messages.qsize() == 2)
    assert remote.engine.message().subtask_id == "taken"
    with beating(remote, remote.acquire("taken")):
        until(lambda: remote.dispatcher.outlook().published_again == 1)
    assert [remote.engine.message().subtask_id for _ in range(2)] == ["queued", "lost"]


class Moving(Kept):
    """An engine whose queue moves: every third time it is asked, it is ``off`` by one."""

    def __init__(self, off: int) -> None:
        super().__init__()
        self._off = off
        self._asked = itertools.count(1)

    def depth(self, plugin: str) -> int | None:
        return self.messages.qsize() + (0 if next(self._asked) % 3 else self._off)


def test_what_is_lost_is_published_again_though_some_looks_find_enough(tmp_path: Path) -> None:
    with Remote(tmp_path, engine=Moving(1)) as remote:
        remote.create("lost")
        remote.engine.message()
        remote.create("taken", "queued")
        assert remote.engine.message().subtask_id == "taken"
        with beating(remote, remote.acquire("taken")):
            until(lambda: remote.dispatcher.outlook().published_again == 1)
        assert [remote.engine.message().subtask_id for _ in range(2)] == ["queued", "lost"]


def test_what_some_looks_find_too_few_of_is_not_missed(tmp_path: Path) -> None:
    with Remote(tmp_path, engine=Moving(-1)) as remote:
        remote.create("behind")
        message = remote.engine.message()
        remote.create("taken", "queued")
        assert remote.engine.message().subtask_id == "taken"
        remote.engine.messages.put(message)
        with beating(remote, remote.acquire("taken")):
            until(lambda: remote.state("taken") == "running")
            threading.Event().wait(4 * LEASE_SECONDS)
        assert remote.dispatcher.outlook().published_again == 0


def test_what_nodes_have_is_looked_at_as_soon_as_it_is_known_what_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_dispatcher, "LOOK_SECONDS", DEADLINE / 2)
    asked, looked = threading.Event(), threading.Semaphore(0)
    held, depth = Store.held, Kept.depth

    def noted(self: Store, service: str) -> Mapping[str, Sight]:
        looked.release()
        return held(self, service)

    def awaited(self: Kept, plugin: str) -> int | None:
        asked.wait(DEADLINE)
        return depth(self, plugin)

    monkeypatch.setattr(Store, "held", noted)
    monkeypatch.setattr(Kept, "depth", awaited)
    with Remote(tmp_path) as remote:
        remote.create("s")
        assert looked.acquire(timeout=DEADLINE)
        asked.set()
        assert looked.acquire(timeout=DEADLINE / 4)
        remote.dispatcher.shut_down(15)
        remote.manage("s", PAUSED)  # so that it need not wait for a command


def test_messages_lack_where_most_of_the_last_looks_found_too_few() -> None:
    shortages = Shortages()
    found = []
    for depth in [1, 0, 1, 0, 0, *[1] * LOOKS]:
        shortages.see({"p": depth, "unknown": None}, {"p": 1, "unknown": 1})
        found.append("p" in shortages)
    assert found == [*[False] * 4, *[True], *[False] * LOOKS]
    assert "unknown" not in shortages
    shortages.see({"p": 0}, {"p": 1})
    shortages.clear()
    assert "p" not in shortages


def test_what_was_put_back_behind_others_is_not_missed(remote: Remote) -> None:
    remote.create("behind")
    message = remote.engine.message()
    remote.create("taken")
    assert remote.engine.message().subtask_id == "taken"
    remote.engine.messages.put(message)
    with beating(remote, remote.acquire("taken")):
        until(lambda: remote.state("taken") == "running")
        threading.Event().wait(4 * LEASE_SECONDS)
    assert remote.dispatcher.outlook().published_again == 0


def test_what_a_dead_node_had_is_not_missed_while_it_waits_for_a_free_one(remote: Remote) -> None:
    """The broker has put it back as soon as the connection of that node ended."""
    remote.create("s", "t")
    messages = [remote.engine.message() for _ in range(2)]
    remote.acquire("s")
    remote.acquire("t")
    until(lambda: {remote.state("s"), remote.state("t")} == {"running"})
    for message in messages:
        remote.engine.messages.put(message)
    threading.Event().wait(8 * LEASE_SECONDS)
    assert remote.dispatcher.outlook().published_again == 0
    assert remote.engine.message().subtask_id == "s"
    lost = remote.engine.message()  # one of them is lost now, and each may be it
    until(lambda: remote.dispatcher.outlook().published_again == 2)
    assert lost.subtask_id == "t"


def test_what_nodes_take_and_give_back_is_not_missed(remote: Remote) -> None:
    """They cannot begin it, for Datahub is away; while one has it there is none in the queue."""
    remote.create("s")
    remote.engine.message()
    over = time.monotonic() + 8 * LEASE_SECONDS
    while time.monotonic() < over:
        remote.store.release(remote.acquire("s"))
        threading.Event().wait(LEASE_SECONDS / 2)
    assert remote.dispatcher.outlook().published_again == 0


def test_what_was_taken_before_is_not_missed_when_it_is_given_back(remote: Remote) -> None:
    remote.create("s")
    remote.engine.message()
    threading.Event().wait(LEASE_SECONDS)  # it is missed, but not for long enough
    lease = remote.acquire("s")
    with beating(remote, lease):
        until(lambda: remote.state("s") == "running")
        threading.Event().wait(2 * LEASE_SECONDS)
    released = time.monotonic()
    remote.store.release(lease)
    remote.engine.message()
    assert time.monotonic() - released >= 2 * LEASE_SECONDS


def test_a_store_that_answers_late_makes_nobody_look_silent(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.create("s")
    remote.engine.message()
    lease = remote.acquire("s")
    held, answers = remote.store.held, list[dict[str, Sight]]()

    def late(service: str) -> dict[str, Sight]:
        answers.append(held(service))
        if len(answers) != 2:
            return answers[-1]
        threading.Event().wait(3 * LEASE_SECONDS)
        return answers[0]  # so it was when it was asked

    with beating(remote, lease):
        until(lambda: remote.state("s") == "running")
        monkeypatch.setattr(remote.store, "held", late)
        until(lambda: len(answers) > 5)
        assert remote.dispatcher.outlook().published_again == 0


def test_repeats_lie_ever_further_apart() -> None:
    repeats = Repeats(6.0)
    due = [now for now in range(100) if repeats.due("s", float(now), 0.0)]
    assert due == [6, 18, 42, 90]
    repeats.forget("s")
    assert not repeats.due("s", 100.0, 100.0)
    assert repeats.due("s", 106.0, 100.0)
    repeats.forget_all_but({"t"})
    assert not repeats.due("s", 200.0, 200.0)
