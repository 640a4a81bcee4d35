"""Whether broker, store and nodes are fit for subtasks on many machines. Nothing there is changed.

The one exception: a store that has never been used gets its tables.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from plugin_framework._version import __version__
from plugin_framework.cli.doctor import plugins
from plugin_framework.cli.doctor.case import Case
from plugin_framework.cli.doctor.finding import Check, Level, Told
from plugin_framework.engines.cluster.records import NodeRecord
from plugin_framework.engines.cluster.resources import Needs, described, queue_name
from plugin_framework.engines.cluster.store import LeaseStore, open_store
from plugin_framework.engines.cluster.waiting import why_waiting
from plugin_framework.engines.local import JOURNAL
from plugin_framework.errors import Code, ConfigurationError, DatahubError, Problem
from plugin_framework.journal.journal import Journal
from plugin_framework.journal.view import View
from plugin_framework.settings import Settings

if TYPE_CHECKING:
    from plugin_framework.engines.celery.broker import Broker

WATCH_SECONDS = 2.5
"""A node adds to its record once a second: for how long one that does not is watched."""

CLOCK_WARNING = 2.0
CLOCK_FAILURE = 60.0
"""Seconds by which a node's clock may be off before that is said, and before that is wrong."""

_SERVER_SECONDS = 15.0
_PLUGIN_SECONDS = 90.0
"""Plugins have to be imported first."""

_LOOK_SECONDS = 0.1
_MOST_SHOWN = 3
_HERE = "this machine"


def checks(settings: Settings) -> tuple[Check, ...]:
    """None where subtasks run on this machine alone."""
    if settings.engine != "celery" or settings.broker_url is None:
        return ()
    cluster = _Cluster()
    broker, store = Code.BROKER_UNREACHABLE, Code.STORE_UNREACHABLE
    return (
        Check("broker", cluster.broker, seconds=_SERVER_SECONDS, stuck=broker),
        Check("store", cluster.store, seconds=_SERVER_SECONDS, stuck=store),
        Check("queues", cluster.queues, ("broker",), _PLUGIN_SECONDS, broker),
        Check("timeout", cluster.timeout, ("broker", "store"), _PLUGIN_SECONDS, store),
        Check("nodes", cluster.nodes, ("store",), _PLUGIN_SECONDS, store),
    )


class _Cluster:
    """What the checks look at; the plugins that are served are imported once for all."""

    def __init__(self) -> None:
        self._version = (0, 0)
        self._served: Sequence[plugins.Imported] | None = None

    # The broker

    def broker(self, case: Case) -> Iterator[Told]:
        """Whether it is there, lets us in, and is new enough."""
        try:
            # Here, for without the extra it cannot be imported, which is told as what follows.
            from plugin_framework.engines.celery.broker import Broker, version_of  # noqa: PLC0415 - see above

            broker = Broker(case.settings)
            connection = broker.connect("doctor")
        except DatahubError as error:
            yield _wrong(error)
            return
        greeting = connection.server_properties
        connection.close()
        self._version = version_of(greeting)
        yield "ok", f"RabbitMQ {greeting['version']} at {broker.address} lets us in"

    def queues(self, case: Case) -> Iterator[Told]:
        """Whether those that are there are as they should be."""
        from plugin_framework.engines.celery.broker import Broker  # noqa: PLC0415 - see broker()

        broker = Broker(case.settings)
        for plugin in self._plugins(case):
            try:
                name = queue_name(plugin.name, _needs(plugin))
                there = _is_there(broker, name)
            except ConfigurationError as error:
                yield _wrong(error)
            except DatahubError as error:
                yield _wrong(error)
                return
            else:
                yield (
                    "ok",
                    f"{name} is a quorum queue" if there else f"{name} is not there yet",
                )

    def timeout(self, case: Case) -> Iterator[Told]:
        """Whether the broker leaves a subtask to its worker for as long as it may run."""
        from plugin_framework.engines.celery import consumer_timeout as limits  # noqa: PLC0415 - see broker()
        from plugin_framework.engines.celery.broker import Broker  # noqa: PLC0415 - see broker()

        settings = case.settings
        try:
            with _store(case) as store:
                taken = limits.consumer_timeout(Broker(settings), self._version, settings, store)
        except DatahubError as error:
            yield _wrong(error)
            return
        after = "never" if taken.seconds is None else f"after {taken.seconds:g} s"
        for plugin in self._plugins(case):
            limit = _time_limit(plugin, settings)
            if problem := limits.too_short(taken, plugin.name, limit, settings.grace_seconds):
                said, _, remedy = problem.partition(": ")
                yield "fail", said, remedy, problem.code
            elif told := limits.warning(taken, plugin.name, limit):
                said, _, remedy = told.partition(": ")
                yield "warn", said, remedy, Code.CONSUMER_TIMEOUT_SHORT
            else:
                longest = f"{limit:g} s" if limit else "for any time"
                said = f"{plugin.name} may run {longest}, and RabbitMQ takes a subtask away {after}"
                yield "ok", f"{said} ({taken.source})"

    # Store and nodes

    def store(self, case: Case) -> Iterator[Told]:
        """Whether it is there, and how far it can be relied on."""
        try:
            with _store(case) as store:
                yield "ok", store.guarantee
                for doubt in store.doubts():
                    yield "warn", doubt, Code.STORE_UNSUITABLE.remedy, Code.STORE_UNSUITABLE
        except DatahubError as error:
            yield _wrong(error)

    def nodes(self, case: Case) -> Iterator[Told]:
        """Which workers live, and whether they fit each other and the plugins."""
        try:
            with _store(case) as store:
                alive = living(store)
        except DatahubError as error:
            yield _wrong(error)
            return
        if not alive:
            yield "warn", "no worker is there", Code.NO_WORKER.remedy, Code.NO_WORKER
            return
        for node in alive:
            yield _presented(node)
            yield from _clock(node)
        served = self._plugins(case)
        yield from _differences(alive, served)
        for plugin in served:
            try:
                problem = why_waiting(plugin.name, _needs(plugin), alive)
            except ConfigurationError as error:
                yield _wrong(error)
                continue
            if isinstance(problem, Problem):  # else they are at work, at the most
                yield "warn", problem, problem.code.remedy, problem.code  # one may yet come

    def _plugins(self, case: Case) -> Sequence[plugins.Imported]:
        if self._served is None:
            self._served = list(plugins.served(case))
        return self._served


@contextmanager
def _store(case: Case) -> Iterator[LeaseStore]:
    path = case.settings.state_dir / JOURNAL
    with ExitStack() as opened:
        if case.settings.store_url is not None or not os.access(path, os.F_OK):
            path = Path(opened.enter_context(TemporaryDirectory()), JOURNAL)
        View(path).close()  # which says what is wrong with it, and does not put it aside
        journal = opened.enter_context(closing(Journal(path)))
        yield opened.enter_context(closing(open_store(case.settings, journal)))


def living(store: LeaseStore) -> list[NodeRecord]:
    """The nodes that write to their records; each is watched until it does, or not in time."""
    before = {node.name: node.beats for node in store.nodes()}
    found: dict[str, NodeRecord] = {}
    give_up_at = time.monotonic() + WATCH_SECONDS
    while before.keys() - found.keys() and time.monotonic() < give_up_at:
        threading.Event().wait(_LOOK_SECONDS)
        for node in store.nodes():
            if before.get(node.name) != node.beats:
                found[node.name] = node
    return [found[name] for name in sorted(found)]


def _presented(node: NodeRecord) -> Told:
    each = sorted(node.plugins.items())
    offers = ", ".join(f"{name} {version}".rstrip() for name, version in each)
    state = "draining" if node.draining else f"{len(node.running)} of {node.slots} slots taken"
    return "ok", f"{node.name}: {offers}; {state}; {described(node.offer)}"


def _clock(node: NodeRecord) -> Iterator[Told]:
    off = abs(node.clock)
    if off > CLOCK_WARNING:
        where = "ahead of" if node.clock > 0 else "behind"
        said = f"the clock of {node.name} is {off:.1f} s {where} the store's"
        level: Level = "fail" if off > CLOCK_FAILURE else "warn"
        yield level, said, Code.CLOCK_OFF.remedy, Code.CLOCK_OFF


def _differences(nodes: Sequence[NodeRecord], served: Sequence[plugins.Imported]) -> Iterator[Told]:
    """Versions that are not the same everywhere, here included."""
    seen: dict[str, dict[str, list[str]]] = {}
    for plugin in served:
        seen.setdefault(plugin.name, {}).setdefault(plugin.version, []).append(_HERE)
    seen["plugin_framework"] = {__version__: [_HERE]}
    for node in nodes:
        for name, version in {**node.plugins, "plugin_framework": node.framework}.items():
            seen.setdefault(name, {}).setdefault(version, []).append(node.name)
    for name, versions in seen.items():
        if len(versions) > 1:
            told = "; ".join(
                f"{version or 'none'} on {_few(where)}" for version, where in versions.items()
            )
            remedy = Code.NODES_DIFFER.remedy
            yield "warn", f"{name} is not the same everywhere: {told}", remedy, Code.NODES_DIFFER


def _few(names: Sequence[str]) -> str:
    more = len(names) - _MOST_SHOWN
    return ", ".join(names[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _needs(plugin: plugins.Imported) -> Needs:
    return Needs.of(plugin.resources, plugin.name)


def _is_there(broker: Broker, name: str) -> bool:
    """Whether there is such a queue, of the right kind; a connection each, for a refusal ends it.

    Raises:
        BrokerUnavailableError: the broker went away.
        ClusterConfigurationError: it is of another kind, or is not ours to look at.
    """
    from plugin_framework.engines.celery.broker import FAILURES  # noqa: PLC0415 - see broker()
    from plugin_framework.engines.celery.queues import is_there  # noqa: PLC0415 - see broker()

    connection = broker.connect("doctor")
    try:
        return is_there(connection, name)
    except FAILURES as error:
        raise broker.refusal(error) from None
    finally:
        connection.collect()


def _time_limit(plugin: plugins.Imported, settings: Settings) -> float:
    """Seconds that a subtask of it may take; 0 for any time."""
    chosen = settings.timeout_seconds
    if "timeout_seconds" in settings.model_fields_set:
        return chosen
    return plugin.timeout_seconds or chosen


def _wrong(error: DatahubError) -> Told:
    return "fail", str(error), error.remedy, error.code
