"""One attempt under a lease: who runs a subtask, who tells of it, and what goes on elsewhere."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest

from plugin_framework.engines.cluster.attempt import (
    LONGEST_PAUSE,
    MANY_LOSSES,
    MOST_LOSSES,
    SHORTEST_PAUSE,
    Fate,
)
from plugin_framework.engines.cluster.identity import Identity
from plugin_framework.engines.cluster.records import Ending
from plugin_framework.errors import Code
from plugin_framework.protocol.client import result_report
from plugin_framework.protocol.models import TaskStatus
from tests.engines.cluster.nodes import SECRET, Cluster
from tests.engines.cluster.plugins import Picky, Travels
from tests.lifecycle import plugins
from tests.lifecycle.running import SUBTASK, eventually
from tests.strict_datahub import StrictDatahub

MIB = 1024 * 1024


def told(caplog: pytest.LogCaptureFixture) -> list[object]:
    """What lines were made of."""
    return [each for record in caplog.records for each in cast("tuple[object]", record.args or ())]


@pytest.fixture
def hub() -> Iterator[StrictDatahub]:
    with StrictDatahub(SUBTASK) as hub:
        yield hub
        assert hub.violations == []


@pytest.fixture
def cluster(hub: StrictDatahub, tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(hub, tmp_path) as cluster:
        yield cluster


def test_a_subtask_is_run_once_however_often_it_comes(cluster: Cluster, hub: StrictDatahub) -> None:
    node, other = cluster.node(plugins.Quick, "a"), cluster.node(plugins.Quick, "b")
    assert node.take(redelivered=False).fate is Fate.DONE
    assert hub.statuses == [1, 3]
    ending = cluster.ending()
    assert (ending.status, ending.fate) == (3, "delivered")
    assert ending.outcome["node"] == node.node.name
    assert ending.outcome["attempt"] == 1
    assert [one.take().fate for one in (node, other)] == [Fate.DONE] * 2
    assert (node.state_dir / "runs").read_text() == "."
    assert not (other.state_dir / "runs").exists()
    assert node.engine.journal.records.all() == []  # it is the store's alone
    assert not list((node.state_dir / "work").iterdir())


def test_a_late_double_does_not_end_the_next_life_of_a_subtask(cluster: Cluster) -> None:
    node = cluster.node(plugins.Quick, "a")
    assert node.take().fate is Fate.DONE
    cluster.store.noticed([SUBTASK])
    assert node.take().fate is Fate.DONE
    assert cluster.store.open("service", [SUBTASK]) == set()  # it is created anew
    assert cluster.store.ending(SUBTASK) is None


def test_a_late_double_settles_nothing_of_the_next_life_of_a_subtask(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has found is of the life before, and what is there now is not delivered."""
    node, found = cluster.node(plugins.Quick, "a"), cluster.store.ending
    next_one = Ending(4, "", b"", {})

    def ending(subtask_id: str) -> Ending | None:
        old = found(subtask_id)
        monkeypatch.undo()
        cluster.store.noticed([SUBTASK])
        cluster.store.open("service", [SUBTASK])
        cluster.store.end(cluster.dead(), next_one)
        return old

    assert node.take().fate is Fate.DONE
    monkeypatch.setattr(cluster.store, "ending", ending)
    assert node.take().fate is Fate.DONE
    assert cluster.ending() == next_one


def test_a_plugin_that_is_not_here_is_not_run(cluster: Cluster, hub: StrictDatahub) -> None:
    node = cluster.node(plugins.Quick, "a")
    node.node.engines = {}
    assert node.take().fate is Fate.UNUSABLE
    assert hub.calls == []


def test_what_a_service_with_another_store_sends_is_given_back(
    cluster: Cluster, hub: StrictDatahub, caplog: pytest.LogCaptureFixture
) -> None:
    node = cluster.node(plugins.Quick, "a")
    Identity().of(cluster.store)
    cluster.forget()
    for _ in range(2):
        done = node.take(store="another")
        assert done.fate is Fate.BACK
        assert SHORTEST_PAUSE <= done.pause <= LONGEST_PAUSE
    (said,) = [one for one in told(caplog) if "another store" in str(one)]
    assert getattr(said, "code", None) is Code.STORE_UNSUITABLE
    assert cluster.store.look(SUBTASK) is None
    assert hub.calls == []
    cluster.store.open("service", [SUBTASK])  # the service has this store now
    assert node.take(store="another").fate is Fate.DONE


def test_what_is_in_the_queue_when_the_store_forgets_is_run(cluster: Cluster) -> None:
    service = Identity()
    store = service.of(cluster.store)
    cluster.forget()
    assert service.of(cluster.store) == store
    assert cluster.node(plugins.Quick, "a").take(store=store).fate is Fate.DONE


def test_the_subtask_of_a_dead_node_goes_on(cluster: Cluster, hub: StrictDatahub) -> None:
    cluster.dead()
    node = cluster.node(plugins.Quick, "a")
    assert node.take(redelivered=False).fate is Fate.DUPLICATE  # the dead one's own, as it seems
    assert hub.calls == []
    assert node.take(redelivered=False, attempt=2).fate is Fate.DONE
    assert hub.result is not None
    assert hub.result["attempt"] == 2


def test_what_was_interrupted_is_failed_where_the_settings_say_so(
    cluster: Cluster, hub: StrictDatahub
) -> None:
    cluster.dead(begun=True)
    node = cluster.node(plugins.Quick, "a", on_interrupted="fail")
    hub.set_status(TaskStatus.PAUSED)
    assert node.take().fate is Fate.PAUSED  # which changes nothing
    hub.set_status(TaskStatus.RUNNING)
    assert node.take().fate is Fate.DONE
    assert hub.statuses == [1, 5]
    assert "was killed" in cluster.ending().outcome["error"]


def test_what_had_not_begun_was_not_interrupted(cluster: Cluster, hub: StrictDatahub) -> None:
    cluster.dead()
    node = cluster.node(plugins.Quick, "a", on_interrupted="fail")
    assert node.take().fate is Fate.DONE
    assert hub.statuses == [1, 3]


def test_what_could_not_begin_changes_nothing(cluster: Cluster, hub: StrictDatahub) -> None:
    cluster.dead(begun=True)
    node = cluster.node(plugins.Quick, "a", startup_deadline=0.2)
    hub.fail_next("/api/task/update_status", 10, "outage")
    assert node.take().fate is Fate.BACK
    assert cluster.dead().losses == 1


def test_what_begins_is_in_the_store_before_datahub_hears_of_it(
    cluster: Cluster, hub: StrictDatahub
) -> None:
    node = cluster.node(Travels, "a")
    node.begin()
    node.works(1)
    assert cluster.dead().losses == 1
    assert node.end().fate is Fate.DUPLICATE


def test_what_takes_its_node_along_each_time_is_given_up(
    cluster: Cluster, hub: StrictDatahub, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(MOST_LOSSES):
        cluster.dead(begun=True)
    hub._started, hub._reported = True, 1  # by the dead ones
    node = cluster.node(plugins.Quick, "a")
    assert node.take().fate is Fate.DONE
    assert hub.statuses == [5]
    ending = cluster.ending()
    assert (ending.status, ending.fate) == (5, "delivered")
    assert "the last 5 attempts were lost" in ending.outcome["error"]
    assert Code.ATTEMPTS_LOST in [getattr(each, "code", None) for each in told(caplog)]
    assert not (node.state_dir / "runs").exists()


def test_it_is_said_before_it_is_given_up(
    cluster: Cluster, hub: StrictDatahub, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(MANY_LOSSES):
        cluster.dead(begun=True)
    node = cluster.node(plugins.Quick, "a")
    assert node.take().fate is Fate.DONE
    assert hub.statuses == [1, 3]
    assert "the last 3 attempts were lost" in caplog.text
    assert Code.ATTEMPTS_LOST in [getattr(each, "code", None) for each in told(caplog)]


def test_a_living_attempt_is_left_alone(cluster: Cluster, hub: StrictDatahub) -> None:
    first, second = cluster.node(Travels, "a"), cluster.node(Travels, "b")
    first.begin()
    first.works(1)
    assert second.take().fate is Fate.DUPLICATE
    first.go()
    assert first.end().fate is Fate.DONE
    assert hub.statuses == [1, 3]
    assert not (second.state_dir / "started").exists()


def test_who_lost_the_lease_stops_and_reports_nothing(cluster: Cluster, hub: StrictDatahub) -> None:
    # The second one's first heartbeat is its last here: all others are the first one's.
    first, second = cluster.node(Travels, "a"), cluster.node(Travels, "b", heartbeat_seconds=30)
    first.begin()
    first.works(1)
    hub.wait_for(lambda: any(percent >= 50 for _, percent in hub.heartbeats))
    first.wire.is_cut.set()
    second.begin()
    second.works(2)
    beats = len(hub.heartbeats)
    first.go()  # which is of no use any more
    eventually(lambda: "end" in first.wire.refused or "finish 1" in first.hooks())
    first.wire.is_cut.clear()
    assert first.end().fate is Fate.DUPLICATE
    assert len(hub.heartbeats) <= beats + 1
    assert [call.path for call in hub.calls if call.path == "/api/task/result"] == []
    assert first.hooks() in (["finish 1"], [])
    second.go()
    assert second.end().fate is Fate.DONE
    assert hub.result is not None
    assert hub.result["attempt"] == 2
    assert hub.result["state"] == {"attempts": [1]}
    assert hub.result["new"] is True
    assert hub.statuses == [1, 3]


def test_a_lost_attempt_is_stopped_without_a_cancel(cluster: Cluster, hub: StrictDatahub) -> None:
    node = cluster.node(Travels, "a")
    node.begin()
    node.works(1)
    sight = cluster.store.look(SUBTASK)
    while cluster.store.acquire(SUBTASK, "other", seen=sight) is None:
        sight = cluster.store.look(SUBTASK)
    assert node.end().fate is Fate.DUPLICATE
    assert node.hooks() == ["finish 1"]
    calls = [call.path for call in hub.calls]
    assert calls.count("/api/task/update_status") == 1
    assert cluster.store.ending(SUBTASK) is None


def test_who_stands_still_on_the_same_machine_is_in_nobodys_way(
    cluster: Cluster, hub: StrictDatahub
) -> None:
    first, second = cluster.node(Travels, "a"), cluster.node(Travels, "a")
    first.begin()
    first.works(1)
    first.wire.is_cut.set()
    second.begin()
    second.works(2)
    first.wire.is_cut.clear()
    assert first.end().fate is Fate.DUPLICATE
    second.go()
    assert second.end().fate is Fate.DONE
    assert hub.result is not None
    found = {"state": {"attempts": [1]}, "new": True, "attempt": 2, "files": []}
    assert hub.result.items() >= found.items()
    assert [path for kind in ("work", "locks") for path in (first.state_dir / kind).iterdir()] == []


def test_an_ending_waits_for_the_store(cluster: Cluster, hub: StrictDatahub) -> None:
    node = cluster.node(Travels, "a")
    node.begin()
    node.works(1)
    node.wire.is_cut.set()
    node.go()
    eventually(lambda: "end" in node.wire.refused)
    assert hub.result is None
    node.wire.is_cut.clear()
    assert node.end().fate is Fate.DONE
    assert hub.statuses == [1, 3]
    assert cluster.ending().fate == "delivered"


@pytest.mark.parametrize("status", [4, 5])
def test_a_failure_and_a_cancel_wait_for_the_store_too(
    cluster: Cluster, hub: StrictDatahub, status: int
) -> None:
    node = cluster.node(Travels, "a", timeout_seconds=0.5 if status == 5 else 0)
    node.begin()
    node.works(1)
    node.wire.is_cut.set()
    if status == 4:
        hub.set_status(4)
    eventually(lambda: "end" in node.wire.refused)
    assert hub.statuses == [1]
    node.wire.is_cut.clear()
    assert node.end().fate is Fate.DONE
    assert hub.statuses == [1, status]
    assert (cluster.ending().status, cluster.ending().fate) == (status, "delivered")


def test_state_is_saved_once_the_store_is_back(cluster: Cluster) -> None:
    node = cluster.node(Travels, "a")
    node.wire.is_cut.set()
    assert node.take().fate is Fate.BACK
    node.wire.is_cut.clear()
    node.begin()
    hub = cluster.hub
    hub.wait_for(lambda: hub.statuses == [1])
    node.wire.is_cut.set()
    eventually(lambda: "save_state" in node.wire.refused)
    node.wire.is_cut.clear()
    node.works(1)
    assert cluster.kept().state["state"] == {"attempts": [1]}
    node.go()
    assert node.end().fate is Fate.DONE


def test_an_ending_that_stands_is_delivered_by_who_comes_next(
    cluster: Cluster, hub: StrictDatahub
) -> None:
    lease = cluster.dead()
    path, body = result_report(SUBTASK, {"of": "the dead"})
    outcome: dict[str, Any] = {
        "result": {"of": "the dead"},
        "outputs": [],
        "error": None,
        "attempt": 1,
    }
    cluster.store.end(lease, Ending(3, path, body, outcome))
    hub._started = True  # by the dead one
    hub._reported = 1
    node = cluster.node(plugins.Quick, "a")
    assert node.take().fate is Fate.DONE
    assert hub.result == {"of": "the dead"}
    assert cluster.ending().fate == "delivered"
    assert not (node.state_dir / "runs").exists()


def test_a_cancel_before_the_start_is_reported(cluster: Cluster, hub: StrictDatahub) -> None:
    """What notify says is what is asked for: without a report of ours Datahub waits for ever."""
    hub.set_status(TaskStatus.CANCELLED)
    node = cluster.node(plugins.Quick, "a")
    assert node.take().fate is Fate.DONE
    assert hub.statuses == [4]
    ending = cluster.ending()
    assert (ending.status, ending.fate, ending.outcome["error"]) == (4, "delivered", None)
    assert not (node.state_dir / "runs").exists()


def test_what_is_paused_before_its_start_is_not_begun(cluster: Cluster, hub: StrictDatahub) -> None:
    hub.set_status(TaskStatus.PAUSED)
    node = cluster.node(plugins.Quick, "a")
    assert node.take().fate is Fate.PAUSED
    assert {call.path for call in hub.calls} == {"/api/task/notify"}
    sight = cluster.store.look(SUBTASK)
    assert sight is not None
    assert not sight.held
    hub.set_status(TaskStatus.RUNNING)
    assert node.take(redelivered=False).fate is Fate.DONE
    assert hub.statuses == [1, 3]


@pytest.mark.parametrize("status", [TaskStatus.COMPLETED, TaskStatus.FAILED])
def test_what_datahub_has_ended_is_not_run(
    cluster: Cluster, hub: StrictDatahub, status: TaskStatus
) -> None:
    hub.set_status(status)
    node = cluster.node(plugins.Quick, "a")
    assert node.take().fate is Fate.DONE
    assert (cluster.ending().status, cluster.ending().fate) == (status, "delivered")
    assert {call.path for call in hub.calls} == {"/api/task/notify"}
    assert not (node.state_dir / "runs").exists()


def test_without_datahub_nothing_is_begun(cluster: Cluster, hub: StrictDatahub) -> None:
    node = cluster.node(plugins.Quick, "a")
    hub.stop_listening()
    done = node.take()
    assert (done.fate, done.pause > 0) == (Fate.BACK, True)
    hub.start_listening()
    sight = cluster.store.look(SUBTASK)
    assert sight is not None
    assert not sight.held
    assert node.take(redelivered=False).fate is Fate.DONE


def test_a_config_that_the_plugin_refuses_here_is_a_failure(
    cluster: Cluster, hub: StrictDatahub
) -> None:
    node = cluster.node(Picky, "a")
    hub._started, hub._reported = True, 1
    assert node.take({"number": "none"}).fate is Fate.DONE
    assert hub.statuses == [5]
    assert "number" in cluster.ending().outcome["error"]


def test_a_start_that_datahub_refuses_is_an_ending_that_was_refused(
    cluster: Cluster, hub: StrictDatahub
) -> None:
    node = cluster.node(plugins.Quick, "a")
    hub.fail_next("/api/task/update_status", 1, "code1")
    assert node.take().fate is Fate.DONE
    assert cluster.ending().fate == "refused"
    assert not (node.state_dir / "runs").exists()


def test_a_drained_subtask_goes_on_at_once_elsewhere(cluster: Cluster, hub: StrictDatahub) -> None:
    first, second = cluster.node(Travels, "a"), cluster.node(Travels, "b", lease_seconds=60)
    first.begin()
    first.works(1)
    first.drain()
    done = first.end()
    assert (done.fate, done.pause) == (Fate.BACK, 0)
    assert first.hooks() == []
    second.go()
    assert second.take(redelivered=False).fate is Fate.DONE
    assert hub.result is not None
    assert hub.result["state"] == {"attempts": [1]}
    assert hub.statuses == [1, 3]


def test_a_node_that_drains_begins_nothing(cluster: Cluster, hub: StrictDatahub) -> None:
    node = cluster.node(plugins.Quick, "a")
    node.node.draining.set()
    assert node.take().fate is Fate.BACK
    assert hub.calls == []


@pytest.mark.parametrize("saves", [True, False])
def test_a_work_directory_is_used_again_where_the_state_fits_it(
    cluster: Cluster, hub: StrictDatahub, *, saves: bool
) -> None:
    first, second = cluster.node(Travels, "a"), cluster.node(Travels, "b")
    config = {"saves": saves}
    for node, attempt in ((first, 1), (first, 2), (second, 3), (first, 4)):
        node.begin(config)
        node.works(attempt)
        if attempt == 4:
            break
        node.drain()
        assert node.end().fate is Fate.BACK
    first.go()
    assert first.end().fate is Fate.DONE
    assert hub.result is not None
    assert hub.result["state"] == ({"attempts": [1, 2, 3]} if saves else {})
    assert hub.result["new"] is saves
    assert hub.result["files"] == ([] if saves else ["of-1", "of-2"])


def test_only_the_parts_that_are_missing_are_sent_elsewhere(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(28 * MIB))
    secret: dict[str, Any] = {"key": SECRET["api_key"], "secret": SECRET["api_secret"]}
    parts = {"chunk_size": 5 * MIB, "concurrency": 1}
    slow = {**parts, "bandwidth": 12 * MIB}
    with (
        StrictDatahub(SUBTASK, input_file=source, **secret) as hub,
        Cluster(hub, tmp_path) as cluster,
    ):
        first = cluster.node(plugins.Mirror, "a", **SECRET, transfer=slow)
        second = cluster.node(plugins.Mirror, "b", **SECRET, transfer=parts)
        first.begin()
        eventually(lambda: any(len(each.parts) >= 2 for each in cluster.kept().uploads))
        first.wire.is_cut.set()
        kept = cluster.kept().uploads[0]
        assert hub.storage.listener.host not in json.dumps(kept.sealed_urls)
        assert second.take().fate is Fate.DONE
        first.wire.is_cut.clear()
        assert first.end().fate is Fate.DUPLICATE
        sent = Counter(
            int(parse_qs(urlsplit(call.target).query)["partNumber"][0])
            for call in hub.storage.calls
            if call.method == "PUT" and call.status == 200
        )
        assert all(sent[index] == 1 for index in kept.parts), sent
        assert set(sent) == set(range(1, 7))
        output = hub.outputs["mirror.bin"]
        assert isinstance(output, Path)
        assert output.read_bytes() == source.read_bytes()
        assert hub.statuses == [1, 3]
        assert hub.violations == []
