"""Subtasks through RabbitMQ and three nodes, beside a service that runs them itself.

``STORES`` (journal redis postgres) names what the nodes share; all of it is on this machine.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import stores
from tests.cluster.amqp_client import queues_of
from tests.cluster.cluster import Cluster, Datahub
from tests.cluster.processes import until
from tests.cluster.rabbitmq import RabbitMQ
from tests.cluster.test_load import resident, submit
from tests.cluster.test_overhead import seconds

STORES = os.environ.get("STORES", "journal redis postgres").split()
ONE_BY_ONE = 50
MANY = 1000
WAITING = 20_000
MIB = 1024 * 1024


def main() -> None:
    """Print figures for each store."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        parts = (overhead, throughput, waiting, death)
        vhosts = [f"{kind}-{part.__name__}" for kind in STORES for part in parts]
        with (
            RabbitMQ(place / "rabbitmq", vhosts=vhosts) as broker,
            Datahub(place / "datahub") as datahub,
        ):
            for kind in STORES:
                with contextmanager(stores.start)(kind, place / kind) as store:
                    for part in parts:
                        name = f"{kind}-{part.__name__}"
                        url = broker.url(name)
                        with Cluster(place / name, datahub, broker=url, store=store.new()) as made:
                            print(f"{kind}: {measured(part, made)}")


def measured(part: Callable[[Cluster], str], cluster: Cluster) -> str:
    """What a part says, once the processes that it starts are over."""
    try:
        return part(cluster)
    finally:
        for process in cluster.processes:
            process.kill()


def overhead(cluster: Cluster) -> str:
    """No-ops, one after the other."""
    here, through = cluster.local_service("Nothing"), cluster.service("Nothing")
    cluster.worker("one", "Nothing")
    for service in (here, through):
        seconds(cluster, service)
    took = [(seconds(cluster, here), seconds(cluster, through)) for _ in range(ONE_BY_ONE)]
    local, clustered = (statistics.median(times) * 1000 for times in zip(*took, strict=True))
    return f"a no-op takes {clustered:.1f} ms, {local:.1f} ms without a broker"


def throughput(cluster: Cluster) -> str:
    """Many no-ops at once, over three nodes."""
    service = cluster.service("Nothing", max_queue=str(2 * MANY))
    names = cluster.new(MANY)
    with queues_of(cluster.broker) as queues:
        began = time.monotonic()
        submit(service, names)
        handed_in = time.monotonic() - began
        until(lambda: queues.depth(cluster.queue("Nothing")) == MANY, "all in the queue")
        queued = time.monotonic() - began
    cluster.workers("one two three", "Nothing")
    began = time.monotonic()
    cluster.ledger.wait_for_end(names)
    took = time.monotonic() - began
    said = f"{MANY} are handed in within {handed_in:.2f} s, queued within {queued:.2f} s"
    return f"{said}, and run by three nodes within {took:.1f} s"


def waiting(cluster: Cluster) -> str:
    """What waiting subtasks cost the service, and what a node costs that has nothing to do."""
    service = cluster.service("Nothing", max_queue=str(2 * WAITING))
    idle = resident(service.pid)
    submit(service, [f"wait-{number}" for number in range(WAITING)])
    with queues_of(cluster.broker) as queues:
        until(lambda: queues.depth(cluster.queue("Nothing")) == WAITING, "all in the queue", 120)
    full = resident(service.pid)
    node = cluster.worker("idle", "Work")
    return (
        f"the service takes {idle // MIB} MiB, {full // MIB} MiB with {WAITING} waiting;"
        f" a node takes {resident(node.pid) // MIB} MiB"
    )


def death(cluster: Cluster) -> str:
    """How long nobody works on what a killed node had."""
    service = cluster.service("Work")
    dies, *_ = cluster.workers("one two three", "Work")
    subtasks = cluster.create(service, "Work", {"seconds": 1.0}, count=24)
    cluster.ledger.wait_for(lambda: len(cluster.ledger.running("one", subtasks)) > 1)
    dies.kill()
    killed = time.monotonic()
    hit = cluster.ledger.running("one", subtasks)
    cluster.ledger.wait_for_end(subtasks)
    back = [
        next(call.at for call in cluster.ledger.calls(subtask) if call.source != "one") - killed
        for subtask in hit
    ]
    return f"what a killed node had is at work again after {min(back):.1f} to {max(back):.1f} s"


if __name__ == "__main__":
    main()
