"""What operators see: which node did what, and how the cluster is."""

from __future__ import annotations

import json
import urllib.request

import pytest

from tests.cluster.cluster import PLUGINS, Cluster
from tests.cluster.processes import until
from tests.free_ports import free_ports

pytestmark = pytest.mark.cluster


def test_the_node_is_named_everywhere(cluster: Cluster) -> None:
    service = cluster.service("Work", "Nothing")
    (port,) = free_ports(1)
    node = cluster.worker("one", "Work", metrics=f"127.0.0.1:{port}")
    go = cluster.folder / "go"
    (subtask,) = cluster.create(service, "Work", {"until": str(go)})
    cluster.wait_for_runs(1)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        assert 'datahub_attempts_running{plugin="Work"} 1.0' in answer.read().decode()
    cluster.create(service, "Nothing", count=3)

    def seen() -> bool:
        nodes = service.cluster()["nodes"]
        return [(one["name"][:4], one["running"]) for one in nodes] == [("one-", 1)]

    until(seen, "the node and what it runs")
    queues = {queue["plugin"]: queue for queue in service.cluster()["queues"]}
    until(lambda: _depth(cluster, service.cluster(), "Nothing") == 3, "the depth of a queue")
    assert queues["Nothing"]["class"] == "c1"
    go.touch()
    cluster.ledger.wait_for_end([subtask])
    about = [line for line in node.lines if line.get("subtask_id") == subtask]
    assert about
    assert {line["node"][:3] for line in about} == {"one"}
    assert 1 in {line.get("attempt") for line in about}
    said = service.said(subtask)
    until(lambda: any("one" in line["message"] for line in service.found(subtask)), str(said))
    _check_metrics(service.call.send("GET", "/metrics", b"", {}).raw.decode())
    _check_outcome(cluster, subtask)


def _depth(cluster: Cluster, seen: dict[str, object], plugin: str) -> int:
    queues = seen["queues"]
    assert isinstance(queues, list)
    return next((int(q["depth"]) for q in queues if q["plugin"] == plugin), 0)


def _check_metrics(text: str) -> None:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for wanted in (
        'datahub_nodes{plugin="Work"} 1.0',
        'datahub_queue_depth{class="c1",plugin="Nothing"} 3.0',
        "datahub_handed_over_total 4.0",
    ):
        assert wanted in lines, text
    for name in ("datahub_oldest_waiting_seconds", "datahub_node_running", "datahub_node_slots"):
        assert any(line.startswith(name) for line in lines), text


def _check_outcome(cluster: Cluster, subtask: str) -> None:
    state = cluster.settings("service")["DATAHUB_STATE_DIR"]
    command = cluster.command("journal", "show", subtask, "--json", state_dir=state)
    assert command.end() == 0, command.text
    shown = "".join(command.output)
    assert '"node"' in shown, shown
    assert "handed over" in shown, shown
    json.loads(shown)


def test_doctor_finds_a_cluster_well(cluster: Cluster) -> None:
    cluster.service("Work")
    cluster.worker("one", "Work")
    doctor = cluster.command("doctor", f"{PLUGINS}:Work")
    assert doctor.end() == 0, "\n".join(doctor.output)
    said = "\n".join(doctor.output)
    for word in ("broker", "3.10", "quorum", "one"):
        assert word in said, said
