"""The stores, each on a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from plugin_framework.engines.cluster.journal_store import JournalStore
from plugin_framework.engines.cluster.records import Lease
from plugin_framework.engines.cluster.store import LeaseStore
from plugin_framework.journal.journal import Journal
from tests.cluster import stores
from tests.cluster.stores import Store

OpenStore = Callable[[], LeaseStore]


def opened(url: str) -> LeaseStore:
    """The store at a server's address."""
    if url.startswith("postgresql"):
        from plugin_framework.engines.cluster.postgres import PostgresStore  # noqa: PLC0415 - its library may be missing

        return PostgresStore(url)
    from plugin_framework.engines.cluster.redis import RedisStore  # noqa: PLC0415 - its library may be missing

    return RedisStore(url)


def running(kind: str, folder: Path, made: ExitStack) -> Store:
    """A server of that kind, which ends with what it was ``made`` in."""
    if not stores.is_installed(kind):
        pytest.skip(f"{kind} is not installed: make cluster-tools")
    return made.enter_context(contextmanager(stores.start)(kind, folder))


@pytest.fixture(scope="session")
def server_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Store]]:
    """The server of a kind, which is started when it is first asked for."""
    found: dict[str, Store] = {}
    with ExitStack() as made:

        def server(kind: str) -> Store:
            if kind not in found:
                found[kind] = running(kind, tmp_path_factory.mktemp(kind), made)
            return found[kind]

        yield server


@pytest.fixture(params=stores.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_one(kind: str, tmp_path: Path, server_of: Callable[[str], Store]) -> Iterator[OpenStore]:
    """Opens the same empty store, as each process does."""
    with ExitStack() as made:
        url = server_of(kind).new()

        def one() -> LeaseStore:
            if url:
                store = opened(url)
            else:
                journal = Journal(tmp_path / "journal.sqlite3")
                made.callback(journal.close)
                store = JournalStore(journal)
            made.callback(store.close)
            return store

        yield one


@pytest.fixture
def store(open_one: OpenStore) -> LeaseStore:
    return open_one()


def taken(store: LeaseStore, subtask: str = "s", node: str = "one") -> Lease:
    """The lease of a subtask, from whomever had it."""
    lease = store.acquire(subtask, node, seen=store.look(subtask))
    assert lease is not None
    return lease
