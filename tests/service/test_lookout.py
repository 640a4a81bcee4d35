"""What the service tells of its cluster: in health, metrics, log and journal."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from plugin_framework.engines.cluster.resources import Needs
from plugin_framework.service import lookout, remote_dispatcher
from plugin_framework.service.metrics import Metrics
from plugin_framework.service.running import NodeSeen, Outlook, QueueSeen
from tests.service.remote import Remote, node, record_of, until

NODE = NodeSeen("n-1", ("p",), 4, 1, draining=False, age=0.25, ended={"completed": 3})
QUEUES = (
    QueueSeen("p", "c1", 7, 12.345, "no worker"),
    QueueSeen("q", "c4-g1", None, None, None),
)
OUTLOOK = Outlook([NODE], QUEUES, "no broker", 12, 2)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often."""
    monkeypatch.setattr(remote_dispatcher, "LOOK_SECONDS", 0.02)


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    with Remote(tmp_path, {"p": Needs(), "q": Needs(gpus=1)}) as running:
        yield running


def test_health_tells_nodes_and_queues() -> None:
    facts = json.loads(json.dumps(OUTLOOK.facts()))
    assert facts == {
        "nodes": [
            {
                "name": "n-1",
                "plugins": ["p"],
                "slots": 4,
                "running": 1,
                "draining": False,
                "age": 0.2,
            }
        ],
        "queues": [
            {
                "plugin": "p",
                "class": "c1",
                "depth": 7,
                "oldest_seconds": 12.3,
                "reason": "no worker",
            },
            {
                "plugin": "q",
                "class": "c4-g1",
                "depth": None,
                "oldest_seconds": None,
                "reason": None,
            },
        ],
        "problem": "no broker",
    }


def test_metrics_tell_the_same_in_figures() -> None:
    text = Metrics().text({"running": 0}, OUTLOOK).decode()
    figures = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert {
        ("datahub_nodes", "p"): 1,
        ("datahub_nodes", "q"): 0,
        ("datahub_queue_depth", "c1", "p"): 7,
        ("datahub_oldest_waiting_seconds", "p"): 12.345,
        ("datahub_oldest_waiting_seconds", "q"): 0,
        ("datahub_node_running", "n-1"): 1,
        ("datahub_node_slots", "n-1"): 4,
        ("datahub_node_subtasks_ended_total", "completed", "n-1"): 3,
        ("datahub_handed_over_total",): 12,
        ("datahub_published_again_total",): 2,
    }.items() <= figures.items()
    assert ("datahub_queue_depth", "c4-g1", "q") not in figures


def test_without_a_cluster_there_is_no_figure_of_one() -> None:
    assert "datahub_node" not in Metrics().text({"running": 0}).decode()


def test_each_plugin_has_its_reason_said_once(
    remote: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "datahub.service")
    remote.store.beat(node("n-1", "p", running=("x",)))
    remote.create("s", plugin="p")
    remote.create("t", plugin="q")
    until(lambda: "needs 1 GPU" in str(record_of(remote, "t")["why"]))
    assert record_of(remote, "s")["why"] is None
    seen = until(lambda: remote.dispatcher.outlook().nodes)
    assert [(one.name, one.running, one.slots) for one in seen] == [("n-1", 1, 4)]
    reasons = {one.plugin: one.reason for one in remote.dispatcher.outlook().queues}
    assert reasons["p"] is None
    assert "no worker offers that" in str(reasons["q"])
    remote.store.leave("n-1")
    until(lambda: "no worker offers plugin p" in str(record_of(remote, "s")["why"]))
    said = [one.getMessage() for one in caplog.records if "wait" in one.getMessage()]
    assert len([one for one in said if one.startswith("subtasks of plugin p wait: ")]) == 1
    remote.store.beat(node("n-2", "p"))
    until(lambda: record_of(remote, "s")["why"] is None)
    until(lambda: "no more: subtasks of plugin p wait" in caplog.messages)


def test_a_broker_that_is_away_is_said_once(
    remote: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    remote.store.beat(node("n-1", "p"))
    remote.engine.down = True
    remote.create("s", plugin="p")
    until(lambda: record_of(remote, "s")["why"] == "no broker")
    assert [one.depth for one in remote.dispatcher.outlook().queues] == [None, None]
    remote.engine.down = False
    until(lambda: record_of(remote, "s")["why"] is None)
    warnings = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert warnings.count("the cluster cannot be used now: no broker") == 1
    assert [one for one in warnings if "plugin p wait" in one] == []


def test_a_node_without_a_sign_of_life_is_gone(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = node("n-1", "p")
    remote.store.beat(record)
    until(lambda: remote.dispatcher.outlook().nodes)
    monkeypatch.setattr(remote.dispatcher._lookout, "_alive_seconds", 0.1)
    until(lambda: not remote.dispatcher.outlook().nodes)
    remote.store.beat(replace(record, beats=2))
    until(lambda: remote.dispatcher.outlook().nodes)
    assert lookout.ALIVE_SECONDS >= 3


def _why(remote: Remote) -> str:
    return str(record_of(remote, "s")["why"])


def test_the_slots_of_a_silent_node_are_not_counted(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "BEAT_SECONDS", 0.1)
    dies, lives = (node(name, "p", slots=3, running=("a", "b", "c")) for name in ("n-1", "n-2"))
    remote.store.beat(dies)
    beats = 0

    def says(what: str) -> bool:
        nonlocal beats
        beats += 1
        remote.store.beat(replace(lives, beats=beats))
        return _why(remote) == what

    remote.create("s")
    until(lambda: says("all slots of the workers are taken, 6 in all"))
    until(lambda: says("all slots of the workers are taken, 3 in all"))
    assert [one.name for one in remote.dispatcher.outlook().nodes] == ["n-1", "n-2"]
    until(lambda: "no sign of life" in _why(remote))


def test_an_outage_of_the_store_is_no_reason_of_the_nodes(
    remote: Remote, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "datahub.service")
    monkeypatch.setattr(remote.dispatcher._lookout, "_alive_seconds", 1.0)
    busy = node("n-1", "p", slots=1, running=("a",))
    remote.store.beat(busy)
    remote.store.beat(node("n-2", "p", draining=True))
    remote.create("s", plugin="p")
    remote.create("t", plugin="q")
    until(lambda: "all slots" in _why(remote))
    until(lambda: "subtasks of plugin q wait: " in caplog.text)
    remote.store.beat(replace(busy, beats=2))
    remote.store.down = True
    until(lambda: _why(remote) == "no store")
    threading.Event().wait(1.1)  # nobody can report
    remote.store.down = False
    until(lambda: _why(remote) != "no store")
    remote.store.beat(replace(busy, beats=3))
    until(lambda: "all slots" in _why(remote))
    said = [one.getMessage() for one in caplog.records]
    assert not [one for one in said if "plugin p wait" in one]
    assert not [one for one in said if one.startswith("no more: subtasks of plugin q")]


def test_a_plugin_that_is_served_no_more_is_a_reason(tmp_path: Path) -> None:
    with Remote(tmp_path, {"p": Needs(), "q": Needs()}) as remote:
        remote.create("s", plugin="q")
        until(lambda: remote.state("s") == "handed")
    with Remote(tmp_path) as remote:
        assert _why(remote) == "the service does not serve this plugin"
    with Remote(tmp_path, {"q": Needs()}) as remote:
        until(lambda: "no worker offers plugin q" in _why(remote))
