"""Subtasks that run elsewhere: handed over, watched, controlled, and never lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugin_framework.engines.cluster.records import Ending
from plugin_framework.engines.cluster.resources import Needs
from plugin_framework.errors import ClusterConfigurationError, Code, ConfigurationError
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.service import remote_dispatcher
from tests.service.remote import DEADLINE, LEASE_SECONDS, Remote, beating, record_of, until

RUNNING, PAUSED, CANCELLED = TaskStatus.RUNNING, TaskStatus.PAUSED, TaskStatus.CANCELLED
COMPLETED = TaskStatus.COMPLETED


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, and try again soon."""
    monkeypatch.setattr(remote_dispatcher, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(remote_dispatcher, "REFUSED_SECONDS", 0.02)


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    with Remote(tmp_path) as running:
        yield running


def hold_looks(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> tuple[threading.Event, threading.Event]:
    """Have the service look at no endings until the first is set; the second: it wants to."""
    ended, may_look, looking = remote.store.ended, threading.Event(), threading.Event()

    def late(service: str) -> list[tuple[str, Ending]]:
        found = [] if may_look.is_set() else ended(service)
        looking.set()
        assert may_look.wait(DEADLINE)
        return found or ended(service)

    monkeypatch.setattr(remote.store, "ended", late)
    return may_look, looking


def test_what_is_accepted_is_handed_over_and_its_end_is_seen(remote: Remote) -> None:
    remote.create("s", config='{"size": 1}')
    handed = remote.engine.message()
    assert (handed.subtask_id, handed.config, handed.attempt) == ("s", '{"size": 1}', 1)
    lease = remote.acquire("s")
    until(lambda: remote.state("s") == "running")
    until(lambda: record_of(remote, "s")["why"] == "attempt 1 runs on node-1")
    assert remote.dispatcher.runs("s")
    remote.end(lease)
    remote.gone("s")
    assert remote.over == [(COMPLETED, True)]
    assert not remote.dispatcher.runs("s")
    record = record_of(remote, "s")
    assert (record["state"], record["attempts"], record["pending"]) == ("delivered", 1, 0)
    kinds = [event.kind for event in remote.journal.timeline.events("s")]
    assert {"handed over", "taken", "ended", "delivered"} <= set(kinds)
    (ended,) = [one for one in remote.journal.timeline.events("s") if one.kind == "ended"]
    assert (ended.detail["node"], ended.detail["attempt"]) == ("node-1", 1)
    assert not remote.kicked.is_set()


def test_what_is_handed_over_names_its_store(remote: Remote) -> None:
    remote.create("s")
    known = remote.engine.message().store
    assert known == remote.store.known("identity")
    remote.store.forget("s")
    until(lambda: remote.store.known("identity") == known)


def test_while_the_broker_is_away_all_is_kept(remote: Remote) -> None:
    remote.engine.down = True
    remote.create("a", "b")
    until(lambda: record_of(remote, "a")["why"] == "no broker")
    assert remote.dispatcher.outlook().problem == "no broker"
    remote.engine.down = False
    assert {remote.engine.message().subtask_id for _ in "ab"} == {"a", "b"}
    until(lambda: remote.dispatcher.outlook().problem is None)


def test_while_the_store_is_away_all_is_kept(remote: Remote) -> None:
    remote.store.down = True
    remote.create("s")
    until(lambda: record_of(remote, "s")["why"] == "no store")
    remote.store.down = False
    assert remote.engine.message().subtask_id == "s"


def test_what_the_engine_will_never_take_fails(remote: Remote) -> None:
    remote.engine.refused["large"] = ConfigurationError("it is too large")
    remote.create("large", "small")
    assert remote.engine.message().subtask_id == "small"
    until(lambda: remote.backlog.find("large") is None)
    assert remote.kicked.wait(DEADLINE)
    record = record_of(remote, "large")
    assert (record["state"], record["status"]) == ("undelivered", TaskStatus.FAILED)


def test_a_queue_that_is_wrong_holds_its_plugin_alone(tmp_path: Path) -> None:
    with Remote(tmp_path, dict.fromkeys("pq", Needs())) as remote:
        wrong = ClusterConfigurationError("another kind of queue", code=Code.QUEUE_WRONG)
        remote.engine.refused["s"] = wrong
        remote.create("s", plugin="p")
        remote.create("t", plugin="q")
        assert remote.engine.message().subtask_id == "t"
        until(lambda: record_of(remote, "s")["why"] == "another kind of queue")
        remote.engine.refused.clear()
        assert remote.engine.message().subtask_id == "s"


def test_what_is_queued_is_cancelled_at_once(remote: Remote) -> None:
    remote.create("s")
    remote.engine.message()
    remote.manage("s", CANCELLED)
    remote.gone("s")
    assert remote.kicked.is_set()
    (report,) = remote.journal.pending_reports("s")
    assert report.status == CANCELLED
    ending = remote.store.ending("s")
    assert ending is not None
    assert (ending.status, ending.fate) == (CANCELLED, "delivered")
    assert remote.engine.told == []


def test_what_was_never_handed_over_is_cancelled_too(remote: Remote) -> None:
    remote.engine.down = True
    remote.create("s")
    remote.manage("s", CANCELLED)
    remote.gone("s")
    remote.engine.down = False
    remote.create("t")
    assert remote.engine.message().subtask_id == "t"


def test_what_runs_is_told_to_pause_go_on_and_end(remote: Remote) -> None:
    remote.create("s")
    lease = remote.acquire("s")
    with beating(remote, lease):
        for status in (PAUSED, RUNNING, CANCELLED):
            remote.manage("s", status)
            until(lambda: ("s", status) in remote.engine.told)  # noqa: B023 - called here
        assert remote.store.ending("s") is None
    remote.end(lease, CANCELLED)
    remote.gone("s")
    assert remote.journal.pending_reports("s") == []


def test_while_the_store_is_away_a_cancel_waits(remote: Remote) -> None:
    remote.create("s")
    remote.engine.message()
    remote.store.down = True
    remote.manage("s", CANCELLED)
    until(lambda: ("s", CANCELLED) in remote.engine.told)  # it might run by now
    assert remote.backlog.find("s") is not None
    remote.store.down = False
    remote.gone("s")
    assert len(remote.journal.pending_reports("s")) == 1


def test_a_cancel_that_nobody_carried_out_survives_the_service(tmp_path: Path) -> None:
    with Remote(tmp_path) as remote:
        remote.create("s")
        remote.engine.message()
        remote.store.down = True
        remote.manage("s", CANCELLED)
    with Remote(tmp_path) as remote:
        remote.gone("s")
        assert len(remote.journal.pending_reports("s")) == 1
        assert remote.engine.messages.empty()


def test_what_is_paused_is_handed_over_once_it_goes_on(remote: Remote) -> None:
    remote.engine.down = True
    remote.create("s", "t")
    remote.manage("s", PAUSED)
    until(lambda: remote.state("s") == "waiting")
    remote.engine.down = False
    assert remote.engine.message().subtask_id == "t"
    assert remote.backlog.longest_waiting().keys() == {"p"}
    remote.manage("s", RUNNING)
    assert remote.engine.message().subtask_id == "s"


def test_a_pause_asked_for_while_it_was_queued_reaches_its_node(remote: Remote) -> None:
    remote.create("s")
    remote.engine.message()
    remote.manage("s", PAUSED)
    until(lambda: remote.engine.told)
    remote.engine.told.clear()
    remote.acquire("s")
    until(lambda: ("s", PAUSED) in remote.engine.told)
    assert remote.backlog.counts() == {"waiting": 0, "running": 0, "paused": 1}


def test_a_subtask_whose_node_is_silent_is_published_again(remote: Remote) -> None:
    remote.create("s")
    remote.engine.message()
    remote.acquire("s")
    again = remote.engine.message()
    assert (again.subtask_id, again.attempt) == ("s", 2)
    until(lambda: remote.dispatcher.outlook().published_again == 1)
    assert remote.dispatcher.outlook().handed_over == 1
    events = remote.journal.timeline.events
    until(lambda: "published again" in [event.kind for event in events("s")])


def test_a_subtask_whose_node_lives_is_not(remote: Remote) -> None:
    remote.create("s", "lost")
    remote.engine.message()
    remote.engine.message()
    with beating(remote, remote.acquire("s")):
        # That it is not missed shows once the other one is, twice.
        for attempt in (1, 1):
            again = remote.engine.message()
            assert (again.subtask_id, again.attempt) == ("lost", attempt)
    assert remote.engine.messages.empty()


def test_a_store_that_was_away_makes_nobody_look_silent(remote: Remote) -> None:
    remote.create("s")
    remote.engine.message()
    lease = remote.acquire("s")
    with beating(remote, lease):
        until(lambda: remote.state("s") == "running")
    remote.store.down = True
    threading.Event().wait(3 * LEASE_SECONDS)  # its holder's time, by any clock
    remote.store.down = False
    with beating(remote, lease):
        remote.create("t")
        assert remote.engine.message().subtask_id == "t"
    assert remote.dispatcher.outlook().published_again == 0


def test_what_a_node_gives_back_waits_again(remote: Remote) -> None:
    remote.create("s")
    handed = remote.engine.message()
    lease = remote.acquire("s")
    until(lambda: remote.state("s") == "running")
    remote.engine.messages.put(handed)
    remote.store.release(lease)
    until(lambda: remote.state("s") == "handed")
    until(lambda: record_of(remote, "s")["state"] == "waiting")
    assert "given back" in [event.kind for event in remote.journal.timeline.events("s")]
    assert record_of(remote, "s")["attempts"] == 1
    remote.end(remote.acquire("s", "node-2"))
    remote.gone("s")
    assert record_of(remote, "s")["attempts"] == 2


def test_another_life_of_the_service_hands_nothing_over_twice(tmp_path: Path) -> None:
    with Remote(tmp_path) as remote:
        remote.create("over", "runs", "queued")
        for _ in range(3):
            handed = remote.engine.message()
        until(lambda: record_of(remote, "queued")["state"] == "waiting")
        lease = remote.acquire("over")
        remote.acquire("runs")
        until(lambda: remote.state("runs") == "running")
        # Known to be handed over, and ended while nobody looked.
        until(lambda: remote.store.open("service", ["queued"]))
        engine = remote.engine
        engine.messages.put(handed)
    with Remote(tmp_path) as between:
        between.store.down = True
        store = type(between.store)(between.journal)
        path = Ending(3, "/api/task/result", b"{}", {"attempt": 1, "node": "n"})
        store.end(lease, path)
        store.settle("over", "delivered")
    with Remote(tmp_path, engine=engine) as remote:
        remote.gone("over")
        until(lambda: remote.state("queued") == "handed")
        assert engine.messages.qsize() <= 1 + remote.dispatcher.outlook().published_again
        assert remote.dispatcher.outlook().handed_over == 0


def test_what_datahub_has_created_anew_is_handed_over_anew(remote: Remote) -> None:
    remote.create("s")
    remote.engine.message()
    remote.end(remote.acquire("s"))
    remote.gone("s")
    remote.create("s", config='{"anew": 1}')
    assert remote.engine.message().config == '{"anew": 1}'
    until(lambda: remote.store.ending("s") is None)
    lease = remote.acquire("s", "node-2")
    assert lease.number == 2
    remote.end(lease, TaskStatus.FAILED)
    remote.gone("s")
    record = record_of(remote, "s")
    assert (record["status"], record["attempts"]) == (TaskStatus.FAILED, 2)


def test_what_is_created_anew_before_its_end_is_seen_is_handed_over_anew(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.create("s")
    remote.engine.message()
    lease = remote.acquire("s")
    with beating(remote, lease):
        until(lambda: remote.state("s") == "running")
        may_look, looking = hold_looks(remote, monkeypatch)
        assert looking.wait(DEADLINE)
        remote.end(lease)
        assert remote.send("s", '{"anew": 1}') == "known"
        may_look.set()
    assert remote.engine.message().config == '{"anew": 1}'
    remote.end(remote.acquire("s", "node-2"))
    remote.gone("s")
    assert remote.over == [(COMPLETED, True)] * 2


def test_what_is_sent_twice_is_run_once(remote: Remote, caplog: pytest.LogCaptureFixture) -> None:
    remote.create("s")
    remote.engine.message()
    assert remote.send("s", '{"other": 1}') == "known"
    until(lambda: "with another config, which is ignored" in caplog.text)
    lease = remote.acquire("s")
    remote.end(lease)
    remote.gone("s")
    remote.create("t")
    assert remote.engine.message().subtask_id == "t"


def test_what_datahub_refused_to_start_is_dropped_and_stays_known(remote: Remote) -> None:
    remote.create("s")
    remote.engine.message()
    lease = remote.acquire("s")
    outcome = {"error": "Datahub refused its start", "attempt": 1, "node": "n"}
    remote.store.end(lease, Ending(5, "", b"", outcome, "refused"))
    remote.gone("s")
    record = record_of(remote, "s")
    assert (record["state"], record["why"]) == ("refused", "Datahub refused its start")


def test_nothing_is_accepted_once_it_ends(tmp_path: Path) -> None:
    remote = Remote(tmp_path)
    with remote:
        remote.create("s")
        remote.engine.message()
        lease = remote.acquire("s")
        until(lambda: remote.state("s") == "running")
    assert remote.engine.closed
    assert lease.number == 1  # it goes on without us
