"""The servers of a cluster, once for all tests; and clusters, one for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import rabbitmq, stores
from tests.cluster.cluster import Cluster, Datahub
from tests.cluster.rabbitmq import RabbitMQ
from tests.cluster.stores import Store

VHOSTS = tuple(f"test-{number}" for number in range(16))
FIGURE = "figure "
SHOWN = 12_000
"""Characters of what each process said, at its end, where a test fails."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Show what the processes of a failed test have said."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Cluster):
                report.sections += [(one.name, one.shown[-SHOWN:]) for one in value.processes]
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show what was measured."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name.startswith(FIGURE):
                terminalreporter.write_line(f"{report.nodeid}: {name[len(FIGURE) :]}: {value}")


Figure = Callable[[str, object], None]


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Takes what a test has measured, for people to read."""
    return lambda name, value: record_property(f"{FIGURE}{name}", value)


def need(*, there: bool, what: str) -> None:
    """Skip, unless ``what`` is there."""
    if not there:
        pytest.skip(f"{what} is not installed: make cluster-tools")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """One that no test kills."""
    need(there=rabbitmq.is_installed(), what="rabbitmq-server")
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq"), vhosts=VHOSTS) as running:
        yield running


@pytest.fixture(scope="session")
def vhosts(broker: RabbitMQ) -> Iterator[str]:
    """Of that broker, those that nobody has used."""

    def unused() -> Iterator[str]:
        yield from VHOSTS
        for number in count():
            more = [f"more-{number}-{one}" for one in range(len(VHOSTS))]
            broker.add_vhosts(more)
            yield from more

    return unused()


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[RabbitMQ]:
    """One that a test may do anything to."""
    need(there=rabbitmq.is_installed(), what="rabbitmq-server")
    with RabbitMQ(tmp_path / "rabbitmq") as running:
        yield running


@pytest.fixture(scope="session")
def datahub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Datahub]:
    with Datahub(tmp_path_factory.mktemp("datahub")) as running:
        yield running


StoreOf = Callable[[str], Store]


@pytest.fixture(scope="session")
def store_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreOf]:
    """The store of a kind, which is started when it is first asked for."""
    running: dict[str, Store] = {}
    with ExitStack() as made:

        def store(kind: str) -> Store:
            if kind not in running:
                need(there=stores.is_installed(kind), what=kind)
                start = contextmanager(stores.start)
                folder = tmp_path_factory.mktemp(kind)
                running[kind] = made.enter_context(start(kind, folder))
            return running[kind]

        yield store


MakeCluster = Callable[..., Cluster]


@contextmanager
def clusters(
    folder: Path, datahub: Datahub, broker: RabbitMQ, vhosts: Iterator[str], store_of: StoreOf
) -> Iterator[MakeCluster]:
    """Makes clusters, which end with it; each has its own queues, and its own place in a store."""
    numbers = count()
    with ExitStack() as made:

        def make(kind: str = "redis", *, url: str = "", store: str = "") -> Cluster:
            return made.enter_context(
                Cluster(
                    folder / f"cluster-{next(numbers)}",
                    datahub,
                    broker=url or broker.url(next(vhosts)),
                    store=store or store_of(kind).new(),
                )
            )

        yield make


@pytest.fixture
def make_cluster(
    tmp_path: Path, datahub: Datahub, broker: RabbitMQ, vhosts: Iterator[str], store_of: StoreOf
) -> Iterator[MakeCluster]:
    with clusters(tmp_path, datahub, broker, vhosts, store_of) as make:
        yield make


@pytest.fixture
def cluster(request: pytest.FixtureRequest, make_cluster: MakeCluster) -> Cluster:
    """Without services and nodes yet; its parameter is the kind of its store."""
    return make_cluster(getattr(request, "param", "redis"))


@pytest.fixture(scope="module")
def module_cluster(
    tmp_path_factory: pytest.TempPathFactory,
    datahub: Datahub,
    broker: RabbitMQ,
    vhosts: Iterator[str],
    store_of: StoreOf,
) -> Iterator[Cluster]:
    """One for all tests of a module."""
    folder = tmp_path_factory.mktemp("module")
    with clusters(folder, datahub, broker, vhosts, store_of) as make:
        yield make()
