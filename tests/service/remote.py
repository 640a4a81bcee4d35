"""An engine that only keeps what it is handed, and nodes that do by hand what nodes do."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from plugin_framework.engines.cluster.journal_store import JournalStore
from plugin_framework.engines.cluster.records import Ending, Lease, NodeRecord, Offer
from plugin_framework.engines.cluster.resources import Needs
from plugin_framework.engines.remote import Handed
from plugin_framework.errors import (
    BrokerUnavailableError,
    DatahubError,
    Problem,
    StoreUnreachableError,
    problem_of,
)
from plugin_framework.journal.journal import Journal
from plugin_framework.protocol.client import status_report
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.service.backlog import Backlog
from plugin_framework.service.changes import Addition, Submission
from plugin_framework.service.late import Late
from plugin_framework.service.remote_dispatcher import RemoteDispatcher
from plugin_framework.service.turns import Entry

DEADLINE = 20.0
LEASE_SECONDS = 0.2


def until(condition: Callable[[], Any]) -> Any:
    """What the condition gives, once that is true."""
    deadline = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < deadline, condition
        threading.Event().wait(0.005)
    return found


class Kept:
    """A ``RemoteEngine`` with one queue; it is away while it is ``down``."""

    name = "kept"

    def __init__(self) -> None:
        self.messages: queue.SimpleQueue[Handed] = queue.SimpleQueue()
        self.told: list[tuple[str, TaskStatus]] = []
        self.refused: dict[str, DatahubError] = {}
        self.down = False
        self.closed = False

    def hand_over(self, batch: Sequence[Handed]) -> Mapping[str, DatahubError | None]:
        if self.down:
            return {one.subtask_id: BrokerUnavailableError("no broker") for one in batch}
        for one in batch:
            if one.subtask_id not in self.refused:
                self.messages.put(one)
        return {one.subtask_id: self.refused.get(one.subtask_id) for one in batch}

    def control(self, subtask_id: str, status: TaskStatus) -> None:
        self.told.append((subtask_id, status))

    def depth(self, plugin: str) -> int | None:
        return None if self.down else self.messages.qsize()

    def problem(self) -> Problem | None:
        error = BrokerUnavailableError("no broker")
        return problem_of(error, str(error)) if self.down else None

    def close(self) -> None:
        self.closed = True

    def message(self) -> Handed:
        """The next that a node would get."""
        return self.messages.get(timeout=DEADLINE)


class Store(JournalStore):
    """The journal's store, which is away while it is ``down``."""

    down = False

    def forget(self, subtask_id: str) -> None:
        """Lose what is known of a subtask, as a store may that does not keep everything."""
        self._run("DELETE FROM leases WHERE subtask_id = :subtask_id", subtask_id=subtask_id)
        self._run("DELETE FROM facts")

    def _run_all(self, *args: Any, **more: Any) -> Any:
        if self.down:
            raise StoreUnreachableError("no store")
        return super()._run_all(*args, **more)


@dataclass
class Remote:
    """A service without its HTTP: backlog, dispatcher and journal in this process.

    ``lives`` counts how often it was started on the same journal.
    """

    folder: Path
    plugins: Mapping[str, Needs] = field(default_factory=lambda: {"p": Needs()})
    limit: int = 100
    over: list[tuple[TaskStatus, bool]] = field(default_factory=list)
    engine: Kept = field(default_factory=Kept)

    def __enter__(self) -> Self:
        self.journal = Journal(self.folder / "journal.sqlite3")
        self.store = Store(self.journal)
        commands: queue.SimpleQueue[Entry] = queue.SimpleQueue()
        self.kicked = threading.Event()
        self.backlog = Backlog(
            self.journal.queue,
            self.plugins,
            limit=self.limit,
            on_ended=self.kicked.set,
            told=commands.put,
        )
        self.dispatcher = RemoteDispatcher(
            self.backlog,
            self.journal.queue,
            self.plugins,
            Late(lambda: self.store),
            Late(lambda: self.engine),
            commands=commands,
            service="service",
            lease_seconds=LEASE_SECONDS,
            on_over=lambda status, told: self.over.append((status, told)),
        )
        self.dispatcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.dispatcher.shut_down(15)
        assert self.dispatcher.wait(DEADLINE)
        self.backlog.close()
        self.journal.close()

    def create(self, *names: str, plugin: str = "p", config: str = "{}") -> None:
        """Have the service accept them."""
        replies = [self.backlog.add(Submission(one, None, plugin, config, None)) for one in names]
        assert {reply.result(DEADLINE) for reply in replies} == {"accepted"}

    def send(self, name: str, config: str) -> Addition:
        """Have the service accept one that it may know."""
        return self.backlog.add(Submission(name, None, "p", config, None)).result(DEADLINE)

    def manage(self, name: str, status: TaskStatus) -> None:
        self.backlog.manage(name, status, plugin=None, call=None).result(DEADLINE)

    def gone(self, name: str) -> None:
        """Wait until the service is done with it, and the store knows."""
        until(lambda: self.backlog.find(name) is None)
        until(lambda: not self.store.ended("service"))

    def state(self, name: str) -> str:
        entry = self.backlog.find(name)
        return entry.state if entry else "gone"

    # What a node does

    def acquire(self, name: str, node: str = "node-1") -> Lease:
        lease = self.store.acquire(name, node, seen=self.store.look(name))
        assert lease is not None
        return lease

    def end(self, lease: Lease, status: TaskStatus = TaskStatus.COMPLETED) -> None:
        """As a node that has delivered the ending."""
        path, body = status_report(lease.subtask_id, status)
        outcome: dict[str, Any] = {
            "result": None,
            "outputs": [],
            "error": None,
            "attempt": lease.number,
            "node": lease.node,
        }
        self.store.end(lease, Ending(int(status), path, body, outcome))
        self.store.settle(lease.subtask_id, "delivered")
        self.store.release(lease)


def node(name: str, *plugins: str, **more: Any) -> NodeRecord:
    """A node's record, with these facts in place of the usual ones."""
    facts: dict[str, Any] = {
        "label": name,
        "engine": "kept",
        "framework": "1",
        "plugins": dict.fromkeys(plugins, "1"),
        "offer": Offer(4, 0, 2**33),
        "slots": 4,
        "running": (),
        "draining": False,
        "started": 0.0,
        "beats": 1,
        "clock": 0.0,
        "ended": {},
    }
    return NodeRecord(name, **{**facts, **more})


def record_of(remote: Remote, name: str) -> dict[str, Any]:
    """What ``journal list`` says of a subtask."""
    record = remote.journal.records.find(name)
    assert record is not None
    return asdict(record)


@contextmanager
def beating(remote: Remote, *leases: Lease) -> Iterator[None]:
    """Renew leases as their holder does."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(0.02):
            remote.store.renew(leases)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
