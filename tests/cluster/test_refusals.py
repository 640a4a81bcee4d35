"""What is wrong with a cluster is said in one line; the subtask is kept, and shown as waiting."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from tests.cluster.cluster import PLUGINS, Cluster
from tests.cluster.conftest import MakeCluster, StoreOf
from tests.cluster.processes import Command, Service, until
from tests.cluster.rabbitmq import PASSWORD, RabbitMQ
from tests.cluster.relay import Relay

USAGE, UNAVAILABLE = 2, 69


def waits(cluster: Cluster, service: Service, plugin: str, code: str, *words: str) -> str:
    """A new subtask, once it is shown as waiting, with the reason: by health, journal and log."""
    (subtask,) = cluster.create(service, plugin)
    until(lambda: _reason(service, plugin, *words), f"health says {words}")
    listed = _journal(cluster, subtask)
    assert listed["state"] == "waiting", listed
    assert all(word in json.dumps(listed) for word in words), listed
    told = [line for line in service.lines if line.get("code") == code]
    assert len(told) == 1, service.text
    assert all(word in told[0]["message"] for word in words), told
    assert service.call.send("GET", "/ready", b"", {}).status == 200
    return subtask


def _reason(service: Service, plugin: str, *words: str) -> bool:
    queues = [queue for queue in service.cluster()["queues"] if queue["plugin"] == plugin]
    return any(all(word in (queue["reason"] or "") for word in words) for queue in queues)


def _reasons(service: Service) -> list[str]:
    return [queue["reason"] for queue in service.cluster()["queues"] if queue["reason"]]


def _journal(cluster: Cluster, subtask: str) -> dict[str, Any]:
    """What ``journal list`` says of it, where the service is."""
    state = cluster.settings("service")["DATAHUB_STATE_DIR"]
    command = cluster.command("journal", "list", "--all", "--json", state_dir=state)
    assert command.end() == 0, command.text
    rows: list[dict[str, Any]] = json.loads("".join(command.output))
    return next(row for row in rows if row["subtask_id"] == subtask)


def refused(worker: Command, code: str, *words: str, exit_code: int = USAGE) -> None:
    """It ends, with one line that says why."""
    assert worker.end() == exit_code, worker.text
    told = [line for line in worker.lines if line.get("level") in {"error", "critical"}]
    assert [line.get("code") for line in told] == [code], worker.text
    assert all(word in told[0]["message"] for word in words), told
    assert "Traceback" not in worker.text
    assert PASSWORD not in worker.text


@pytest.mark.cluster
def test_no_broker(make_cluster: MakeCluster, broker: RabbitMQ, vhosts: Iterator[str]) -> None:
    with Relay(broker.url(next(vhosts))) as relay:
        cluster = make_cluster(url=relay.url)
        service = cluster.service("Work")
        subtask = waits(cluster, service, "Work", "DH-601", "broker")
        early = cluster.worker("early", "Work", ready=False, startup_deadline="1")
        refused(early, "DH-601", exit_code=UNAVAILABLE)
        patient = cluster.worker("patient", "Work", ready=False)
        relay.open()
        cluster.ledger.wait_for_end([subtask])
        assert cluster.ledger.wrongs([subtask]) == []
        assert cluster.ledger.starts(subtask)[0].source == patient.name


def test_wrong_credentials(
    make_cluster: MakeCluster, broker: RabbitMQ, vhosts: Iterator[str]
) -> None:
    cluster = make_cluster(url=broker.url(next(vhosts), password="wrong"))
    service = cluster.service("Work")
    waits(cluster, service, "Work", "DH-602", "password")
    refused(cluster.worker("one", "Work", ready=False), "DH-602", "password")


def test_a_store_that_refuses_us(make_cluster: MakeCluster, store_of: StoreOf) -> None:
    url = store_of("postgres").new()
    cluster = make_cluster(store=f"{url.rpartition('/')[0]}/nosuch")
    service = cluster.service("Work")
    waits(cluster, service, "Work", "DH-616", "nosuch")
    refused(cluster.worker("one", "Work", ready=False), "DH-616", "nosuch")


@pytest.mark.cluster
def test_wrong_vhost(make_cluster: MakeCluster, broker: RabbitMQ) -> None:
    cluster = make_cluster(url=broker.url("no/such"))
    service = cluster.service("Work")
    waits(cluster, service, "Work", "DH-603", "no/such")
    refused(cluster.worker("one", "Work", ready=False), "DH-603", "no/such")


@pytest.mark.cluster
def test_no_permission(make_cluster: MakeCluster, broker: RabbitMQ, vhosts: Iterator[str]) -> None:
    vhost = next(vhosts)
    cluster = make_cluster(url=broker.url(vhost, user="nobody"))
    service = cluster.service("Work")
    waits(cluster, service, "Work", "DH-603", vhost)
    refused(cluster.worker("one", "Work", ready=False), "DH-603", vhost)


@pytest.mark.cluster
def test_too_old_a_broker(make_cluster: MakeCluster) -> None:
    with old_broker("3.7.28") as url:
        cluster = make_cluster(url=url)
        service = cluster.service("Work")
        waits(cluster, service, "Work", "DH-604", "3.7.28", "3.10")
        refused(cluster.worker("one", "Work", ready=False), "DH-604", "3.7.28", "3.10")


def test_no_worker_offers_the_plugin(cluster: Cluster) -> None:
    service = cluster.service("Work", "OtherWork")
    cluster.worker("one", "Work")
    subtask = waits(cluster, service, "OtherWork", "DH-609", "OtherWork")
    cluster.worker("two", "OtherWork")
    cluster.ledger.wait_for_end([subtask])
    assert cluster.ledger.wrongs([subtask]) == []
    until(lambda: not _reasons(service), "no queue with a reason")


@pytest.mark.cluster
def test_resources_nobody_has(cluster: Cluster) -> None:
    service = cluster.service("Work", "HugeWork")
    cluster.worker("one", "Work", "HugeWork")
    waits(cluster, service, "HugeWork", "DH-610", "512", "900")
    (fits,) = cluster.create(service, "Work")
    cluster.ledger.wait_for_end([fits])


@pytest.mark.cluster
def test_a_worker_with_another_store_gives_back(cluster: Cluster) -> None:
    service = cluster.service("Work")
    lost = cluster.worker("lost", "Work", store_url="")
    subtask = waits(cluster, service, "Work", "DH-609", "no worker")
    told = lost.said("has another store")
    assert told["code"] == "DH-608"
    cluster.worker("right", "Work")
    cluster.ledger.wait_for_end([subtask])
    assert cluster.ledger.starts(subtask)[0].source == "right"
    assert cluster.ledger.wrongs([subtask]) == []
    assert len(lost.found("has another store")) == 1


@pytest.mark.cluster
def test_resources_are_given_out_by_class(cluster: Cluster) -> None:
    service = cluster.service("GpuWork")
    cluster.worker("poor", "GpuWork", "Work")
    subtask = waits(cluster, service, "GpuWork", "DH-610", "1 GPU")
    cluster.worker("rich", "GpuWork", options=("--gpus", "1", "--memory", "32GiB"))
    cluster.ledger.wait_for_end([subtask])
    assert cluster.ledger.starts(subtask)[0].source == "rich"


@pytest.fixture
def impatient(broker: RabbitMQ) -> Iterator[None]:
    """The broker takes a delivery away after 20 s."""
    broker.set_consumer_timeout(20)
    yield
    broker.set_consumer_timeout(1800)


@pytest.mark.usefixtures("impatient")
def test_a_short_consumer_timeout_is_refused_by_the_worker(cluster: Cluster) -> None:
    worker = cluster.worker("one", "LimitedWork", ready=False, consumer_timeout="20")
    refused(worker, "DH-605", "consumer_timeout", "60", "rabbitmq.conf")


@pytest.mark.usefixtures("impatient")
@pytest.mark.cluster
def test_a_short_consumer_timeout_is_refused_by_doctor(cluster: Cluster, broker: RabbitMQ) -> None:
    """It asks the broker itself, by rabbitmqctl."""
    cluster.env |= broker.environment()
    doctor = cluster.command("doctor", f"{PLUGINS}:LimitedWork")
    assert doctor.end() == 1, doctor.text
    said = "\n".join(doctor.output)
    assert "DH-605" in said, said
    assert "rabbitmq.conf" in said, said


@contextmanager
def old_broker(version: str) -> Iterator[str]:
    """The URL of something that greets as RabbitMQ of that version does, and lets everybody in."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_greet, args=(listener, version), daemon=True).start()
        yield f"amqp://guest:guest@127.0.0.1:{listener.getsockname()[1]}/test"


def _greet(listener: socket.socket, version: str) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_open, args=(connection, version), daemon=True).start()


def _open(connection: socket.socket, version: str) -> None:
    """Connection.Start, Tune and OpenOk (AMQP 0-9-1, 4.2.2), whatever the other side says."""
    facts = _table({"product": "RabbitMQ", "version": version})
    start = bytes([0, 9]) + facts + _long(b"PLAIN AMQPLAIN") + _long(b"en_US")
    with connection, suppress(OSError):
        connection.recv(8)
        connection.sendall(_frame(10, 10, start))
        connection.recv(65536)
        connection.sendall(_frame(10, 30, struct.pack(">HIH", 2047, 131072, 60)))
        connection.recv(65536)
        connection.sendall(_frame(10, 41, b"\0"))
        while connection.recv(65536):
            pass


def _frame(kind: int, method: int, arguments: bytes) -> bytes:
    payload = struct.pack(">HH", kind, method) + arguments
    return struct.pack(">BHI", 1, 0, len(payload)) + payload + b"\xce"


def _long(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text


def _table(facts: dict[str, str]) -> bytes:
    entries = (
        bytes([len(name)]) + name.encode() + b"S" + _long(value.encode())
        for name, value in facts.items()
    )
    return _long(b"".join(entries))
