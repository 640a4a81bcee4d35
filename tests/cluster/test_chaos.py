"""Whatever dies, stands still or is cancelled, in any order: nothing is lost, or ends twice.

``SEED`` repeats a run: the same things happen in the same order.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress

import pytest

from tests.cluster.cluster import CANCELLED, PAUSED, RUNNING, Cluster
from tests.cluster.conftest import Figure, MakeCluster, StoreOf
from tests.cluster.processes import Worker
from tests.cluster.rabbitmq import RabbitMQ
from tests.cluster.stores import Store

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
ROUNDS = 14
SUBTASKS_A_ROUND = 6
LABELS = "one two three"


@pytest.mark.parametrize("kind", ["journal", "redis", "postgres"])
def test_anything_may_die(
    make_cluster: MakeCluster, own_broker: RabbitMQ, store_of: StoreOf, kind: str, figure: Figure
) -> None:
    seed = int(os.environ.get("SEED", time.time_ns() % 10**6))
    cluster = make_cluster(kind, url=own_broker.url())
    chaos = Chaos(cluster, own_broker, store_of(kind), random.Random(seed))
    figure("seed", seed)
    subtasks = chaos.run()
    cluster.ledger.wait_for_end(subtasks, 240)
    assert cluster.ledger.wrongs(subtasks) == [], f"SEED={seed}"
    ended = Counter(cluster.ledger.statuses(subtask)[-1] for subtask in subtasks)
    figure("subtasks by their status", dict(ended))
    figure("what happened", dict(chaos.happened))
    figure("repeats of an ending", cluster.ledger.repeats(subtasks))
    figure("runs of user code", Counter(len(cluster.runs(subtask)) for subtask in subtasks))
    assert ended[5] <= chaos.happened["kill_a_plugin"]
    assert ended[4] <= chaos.happened["cancel"]


class Chaos:
    """One thing after the other, under load."""

    def __init__(
        self, cluster: Cluster, broker: RabbitMQ, store: Store, rng: random.Random
    ) -> None:
        self._cluster = cluster
        self._broker = broker
        self._store = store
        self._rng = rng
        self.happened: Counter[str] = Counter()
        self._subtasks: list[str] = []
        self._acts = [
            self.kill_a_node,
            self.kill_the_service,
            self.kill_the_broker,
            self.kill_a_plugin,
            self.stop_a_node,
            self.restart_a_node,
            self.cancel,
            self.pause,
        ]
        if cluster.env.get("DATAHUB_STORE_URL"):
            self._acts.append(self.kill_the_store)

    def run(self) -> list[str]:
        """All subtasks that were handed in meanwhile."""
        cluster = self._cluster
        self._service = cluster.service("Work")
        self._nodes = {one.name: one for one in cluster.workers(LABELS, "Work")}
        self._broker.wait_for_queue(cluster.queue("Work"))
        for _ in range(ROUNDS):
            for _ in range(SUBTASKS_A_ROUND):
                config = {"seconds": self._rng.uniform(0, 2)}
                self._subtasks += cluster.create(self._service, "Work", config)
            time.sleep(self._rng.uniform(0, 2))  # so that it is anywhere in its work
            act = self._rng.choice(self._acts)
            self.happened[act.__name__] += 1
            act()
        return self._subtasks

    def kill_a_node(self) -> None:
        name = self._rng.choice(sorted(self._nodes))
        self._nodes[name].kill()
        self._begin(name)

    def restart_a_node(self) -> None:
        name = self._rng.choice(sorted(self._nodes))
        assert self._nodes[name].stop() == 0
        self._begin(name)

    def stop_a_node(self) -> None:
        node = self._nodes[self._rng.choice(sorted(self._nodes))]
        node.process.send_signal(signal.SIGSTOP)
        time.sleep(self._rng.uniform(1, 10))  # how long it stands still
        node.process.send_signal(signal.SIGCONT)

    def kill_the_service(self) -> None:
        self._service.kill()
        time.sleep(self._rng.uniform(0, 3))  # how long it is away
        self._service = self._cluster.service("Work")

    def kill_the_broker(self) -> None:
        self._broker.kill()
        self._broker.start()

    def kill_the_store(self) -> None:
        self._store.kill()
        time.sleep(self._rng.uniform(0, 5))  # how long it is away
        self._store.start()

    def kill_a_plugin(self) -> None:
        runs = [mark for mark in self._cluster.marks if mark.lives and not mark.what]
        if runs:
            runs[-1].kill()

    def cancel(self) -> None:
        self._manage(self._rng.choice(self._subtasks), CANCELLED)

    def pause(self) -> None:
        subtask = self._rng.choice(self._subtasks[-SUBTASKS_A_ROUND:])
        self._manage(subtask, PAUSED)
        time.sleep(self._rng.uniform(0, 2))  # how long it is paused
        self._manage(subtask, RUNNING)

    def _manage(self, subtask: str, status: int) -> None:
        if self._cluster.ledger.ending(subtask) is None:
            # One that has ended meanwhile, and one that the service does not know yet.
            with suppress(Exception):
                self._cluster.ask(subtask, status)
            self._service.call.manage(subtask, status)

    def _begin(self, name: str) -> None:
        self._nodes[name] = worker = self._cluster.worker(name, "Work")
        assert isinstance(worker, Worker)
