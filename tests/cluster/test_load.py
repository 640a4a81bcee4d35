"""Many subtasks at once: the service hands them to the broker, and goes on answering."""

from __future__ import annotations

import http.client
import json
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import pytest

from tests.cluster.amqp_client import queues_of
from tests.cluster.cluster import Cluster
from tests.cluster.conftest import Figure
from tests.cluster.processes import Service, until
from tests.service.calling import DEADLINE

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]
CONNECTIONS = 4
MIB = 1024 * 1024


def submit(service: Service, names: list[str]) -> None:
    """Hand all of them in, over connections that are kept."""
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        parts = [names[number::CONNECTIONS] for number in range(CONNECTIONS)]
        list(pool.map(lambda part: _submit(service, part), parts))


def _submit(service: Service, names: list[str]) -> None:
    connection = http.client.HTTPConnection(*service.call.address, timeout=DEADLINE)
    for name in names:
        body = json.dumps({"subtask_id": name, "config": {}, "plugin": "Nothing"}).encode()
        headers = {"Content-Type": "application/json", **service.call.headers({}, body)}
        connection.request("POST", "/api/plugin/create_task", body, headers)
        answer = connection.getresponse()
        said = answer.read()
        assert answer.status == 200, said
    connection.close()


class Prober:
    """Asks for the service's health without pause; ``waits`` are in seconds."""

    def __init__(self, service: Service) -> None:
        self.waits: list[float] = []
        self._service = service
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._probe)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _probe(self) -> None:
        while not self._over.wait(0.01):
            began = time.monotonic()
            self._service.health()
            self.waits.append(time.monotonic() - began)


@pytest.mark.parametrize("cluster", ["journal", "redis", "postgres"], indirect=True)
def test_1000_are_queued_in_3_seconds_while_the_service_answers(
    cluster: Cluster, figure: Figure
) -> None:
    service = cluster.service("Nothing", max_queue="2000")
    names = [f"many-{number}" for number in range(1000)]
    warm = cluster.create(service, "Nothing")
    with queues_of(cluster.broker) as queues:
        until(lambda: queues.depth(cluster.queue("Nothing")) == 1, "the first in the queue")
        with Prober(service) as prober:
            began = time.monotonic()
            submit(service, names)
            submitted = time.monotonic() - began
            until(lambda: queues.depth(cluster.queue("Nothing")) == 1001, "all in the queue")
            took = time.monotonic() - began
    figure("seconds to hand in, to queue 1,000", (round(submitted, 2), round(took, 2)))
    waits = sorted(prober.waits)
    slow = waits[int(len(waits) * 0.99)]
    middle = statistics.median(waits)
    figure("health answers in ms: median, p99", (round(middle * 1000), round(slow * 1000)))
    assert took < 3
    assert slow < 0.5
    assert len(warm) == 1


@pytest.mark.parametrize("cluster", ["journal", "redis", "postgres"], indirect=True)
def test_20000_waiting_cost_under_100_mb(cluster: Cluster, figure: Figure) -> None:
    service = cluster.service("Nothing", max_queue="30000")
    warm = [f"warm-{number}" for number in range(10)]
    submit(service, warm)
    with queues_of(cluster.broker) as queues:
        until(lambda: queues.depth(cluster.queue("Nothing")) == 10, "the first in the queue")
        before = resident(service.pid)
        submit(service, [f"wait-{number}" for number in range(20_000)])
        until(lambda: queues.depth(cluster.queue("Nothing")) == 20_010, "all in the queue", 120)
    after = resident(service.pid)
    figure("MiB of the service before, after 20,000", (before // MIB, after // MIB))
    assert after - before < 100 * MIB


def resident(pid: int) -> int:
    """Bytes that a process has in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096
