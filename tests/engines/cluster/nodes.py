"""Nodes without a broker: each has its own state folder and engine, and all share one store."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from plugin_framework import DatahubPlugin
from plugin_framework.engines.cluster.attempt import Done, run_attempt
from plugin_framework.engines.cluster.holding import Holdings
from plugin_framework.engines.cluster.journal_store import JournalStore
from plugin_framework.engines.cluster.message import Message
from plugin_framework.engines.cluster.node import Node, node_name
from plugin_framework.engines.cluster.records import Ending, Kept, Lease, Offer
from plugin_framework.engines.cluster.store import LeaseStore
from plugin_framework.engines.local import LocalEngine
from plugin_framework.errors import StoreUnreachableError
from plugin_framework.journal.journal import Journal
from tests.lifecycle.running import SUBTASK, eventually, settings_for
from tests.strict_datahub import StrictDatahub

LEASE_SECONDS = 1.0
SECRET = {"api_key": "plugin-key", "api_secret": "an-api-secret-0001"}


class Wire:
    """The way of one node to the store, which can be cut."""

    def __init__(self, store: LeaseStore) -> None:
        self._store = store
        self.is_cut = threading.Event()
        self.refused: list[str] = []

    def __getattr__(self, name: str) -> Any:
        there: Callable[..., Any] = getattr(self._store, name)

        def call(*args: Any, **options: Any) -> Any:
            if self.is_cut.is_set():
                self.refused.append(name)
                raise StoreUnreachableError("the network is cut")
            return there(*args, **options)

        return call


class Cluster:
    """A store, and a Datahub that all nodes have."""

    def __init__(self, hub: StrictDatahub, folder: Path) -> None:
        self.hub = hub
        self._folder = folder
        self._made = ExitStack()
        journal = self._made.enter_context(closing(Journal(folder / "store.sqlite3")))
        self.store: LeaseStore = JournalStore(journal)
        self._journal = journal
        self.store.open("service", [SUBTASK])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._made.close()

    def node(self, plugin: type[DatahubPlugin], label: str, **changes: Any) -> OneNode:
        settings = {"lease_seconds": LEASE_SECONDS, "on_shutdown": "leave", **changes}
        node = OneNode(self, plugin, self._folder / label, label, **settings)
        self._made.callback(node.close)
        return node

    def forget(self) -> None:
        """Have the store lose all that it has."""
        with self._journal.database.write() as db:
            db.execute("DELETE FROM leases")
            db.execute("DELETE FROM facts")

    def ending(self) -> Ending:
        ending = self.store.ending(SUBTASK)
        assert ending is not None
        return ending

    def dead(self, *, begun: bool = False) -> Lease:
        """A lease whose holder is dead, and had told Datahub of its attempt if it had ``begun``."""
        lease = self.store.acquire(SUBTASK, "dead", seen=self.store.look(SUBTASK))
        assert lease is not None
        if begun:
            self.store.set_begun(lease, begun=True)
        return lease

    def kept(self) -> Kept:
        """What was saved, read with the lease of nobody."""
        sight = self.store.look(SUBTASK)
        if sight is None or not sight.held:
            return Kept()
        return self.store.load(Lease(SUBTASK, sight.number, sight.node))


class OneNode:
    """One process of the cluster, as far as it is not about messages."""

    def __init__(
        self,
        cluster: Cluster,
        plugin: type[DatahubPlugin],
        state_dir: Path,
        label: str,
        **settings: Any,
    ) -> None:
        self.state_dir = state_dir
        self.wire = Wire(cluster.store)
        self.done: Done | None = None
        self._thread = threading.Thread()
        self.settings = settings_for(cluster.hub, state_dir, **settings)
        self.engine = LocalEngine(plugin, self.settings)
        store = cast("LeaseStore", self.wire)
        self.holdings = Holdings(store, self.settings.lease_seconds)
        self.node = Node(
            node_name(label),
            engine="none",
            settings=self.settings,
            store=store,
            holdings=self.holdings,
            engines={self.engine.ref.name: self.engine},
            plugins={},
            offer=Offer(1, 0, 0),
            slots=1,
        )

    def take(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        redelivered: bool = True,
        attempt: int = 1,
        store: str = "",
    ) -> Done:
        """Handle a message, as a worker does."""
        message = Message(SUBTASK, None, self.engine.ref.name, config or {}, attempt, store)
        with self.node.attempting(SUBTASK):
            return run_attempt(self.node, message, redelivered=redelivered)

    def begin(self, config: Mapping[str, Any] | None = None) -> None:
        """The same, in a thread."""

        def run() -> None:
            self.done = self.take(config)

        self.done = None
        self._thread = threading.Thread(target=run)
        self._thread.start()

    def end(self) -> Done:
        """What came of it."""
        self._thread.join(30)
        assert self.done is not None, "it does not end"
        return self.done

    def works(self, attempt: int) -> None:
        """Wait until the author's code works on that attempt here."""
        started = self.state_dir / "started"
        eventually(lambda: started.exists() and f"{attempt} " in started.read_text())

    def go(self) -> None:
        """Let the author's code return."""
        (self.state_dir / "go").touch()

    def drain(self) -> None:
        """End what runs, as a worker that is to end does at the end of its patience."""
        for run in self.node._runs():
            run.shutdown(signal.SIGTERM)

    def hooks(self) -> list[str]:
        noted = self.state_dir / "hooks"
        return noted.read_text().split("\n")[:-1] if noted.exists() else []

    def close(self) -> None:
        self.wire.is_cut.clear()
        for run in self.node._runs():
            run.cancel()
        if self._thread.ident is not None:
            self._thread.join(30)
        self.holdings.close()
        self.engine.close()
