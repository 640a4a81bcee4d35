"""What the service tells of its cluster: who is there, and what waits for what."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from plugin_framework.engines.cluster.node import BEAT_SECONDS
from plugin_framework.engines.cluster.records import NodeRecord
from plugin_framework.engines.cluster.resources import Needs
from plugin_framework.engines.cluster.store import LeaseStore
from plugin_framework.engines.cluster.waiting import why_waiting
from plugin_framework.engines.remote import RemoteEngine
from plugin_framework.errors import DatahubError, JournalError, Problem
from plugin_framework.journal.queue import Queue
from plugin_framework.service.backlog import Backlog
from plugin_framework.service.late import Late, line_of
from plugin_framework.service.running import NodeSeen, Outlook, QueueSeen

ALIVE_SECONDS = 10.0
"""A node without a sign of life for so long is gone, where its lease is not longer."""

log: logging.Logger = logging.getLogger("datahub.service")


@dataclass(frozen=True, slots=True)
class _Known:
    record: NodeRecord
    at: float


class Lookout:
    """Looks around from one thread; ``refusals`` are why plugins' subtasks were not handed over.

    Attributes:
        outlook: what was seen last.
    """

    def __init__(
        self,
        backlog: Backlog,
        kept: Queue,
        needs: Mapping[str, Needs],
        store: Late[LeaseStore],
        engine: Late[RemoteEngine],
        *,
        lease_seconds: float,
        refusals: Mapping[str, Problem],
    ) -> None:
        self._backlog = backlog
        self._kept = kept
        self._needs = needs
        self._store = store
        self._engine = engine
        self._alive_seconds = max(ALIVE_SECONDS, 3 * lease_seconds)
        self._lease_seconds = lease_seconds
        self._refusals = refusals
        self._known: dict[str, _Known] = {}
        self._unseen_since: float | None = None
        self._depths: Mapping[str, int | None] = dict.fromkeys(needs)
        self._explained: dict[str, str | None] = {}
        self._said: dict[str, str] = {}
        self.outlook: Outlook = Outlook()

    def depths(self) -> Mapping[str, int | None]:
        """How many subtasks of each plugin are with the engine, as of the last look."""
        return self._depths

    def look(self) -> None:
        """Look once, and say what has changed."""
        broker = self._look_at_engine()
        store = self._look_at_nodes()
        problem = broker or store
        now = time.monotonic()
        alive = [each for each in self._known.values() if now - each.at < self._alive_seconds]
        queues = list(self._queues(problem, [self._offering(each, now) for each in alive]))
        self.outlook = replace(
            self.outlook,
            nodes=[_seen(each.record, now - each.at) for each in alive],
            queues=queues,
            problem=problem,
        )
        self._say("the cluster cannot be used now", problem)
        for queue in queues:
            self._explain(queue.plugin, queue.reason)
            if queue.reason is None or queue.reason != problem:  # else it is said, and no other is
                reason = queue.reason if isinstance(queue.reason, Problem) else None
                self._say(f"subtasks of plugin {queue.plugin} wait", reason)

    def _look_at_engine(self) -> Problem | None:
        try:
            engine = self._engine.get()
        except DatahubError as error:
            return line_of(error)
        self._depths = {plugin: engine.depth(plugin) for plugin in self._needs}
        return engine.problem()

    def _look_at_nodes(self) -> Problem | None:
        now = time.monotonic()
        try:
            found = self._store.get().nodes()
        except DatahubError as error:
            self._unseen_since = self._unseen_since or now
            return line_of(error)
        # While the store was away nobody could show life: that time does not count.
        unseen = now - (self._unseen_since or now)
        known, self._unseen_since = self._known, None
        self._known = {record.name: _Known(record, now) for record in found}
        for name, before in known.items():
            if name in self._known and self._known[name].record.beats == before.record.beats:
                self._known[name] = _Known(before.record, before.at + unseen)
        return None

    def _offering(self, known: _Known, now: float) -> NodeRecord:
        """What a node has for subtasks: nothing, once others may take those that it runs."""
        if now - known.at < self._lease_seconds + BEAT_SECONDS:
            return known.record
        return replace(known.record, slots=0, running=())

    def _queues(
        self, problem: Problem | None, nodes: Collection[NodeRecord]
    ) -> Iterator[QueueSeen]:
        waiting, now = self._backlog.longest_waiting(), time.time()
        for plugin, needs in self._needs.items():
            since, depth = waiting.get(plugin), self._depths[plugin]
            if since is None:
                yield QueueSeen(plugin, needs.class_name, depth, None, None)
                continue
            reason = self._refusals.get(plugin) or problem or why_waiting(plugin, needs, nodes)
            yield QueueSeen(plugin, needs.class_name, depth, max(now - since, 0.0), reason)

    def _explain(self, plugin: str, reason: str | None) -> None:
        if self._explained.get(plugin, "") != reason:
            with suppress(JournalError):  # who writes says so
                self._kept.explain(plugin, reason)
                self._explained[plugin] = reason

    def _say(self, about: str, problem: str | None) -> None:
        if problem is None:
            if self._said.pop(about, None) is not None:
                log.info("no more: %s", about)
        elif self._said.get(about) != problem:
            self._said[about] = problem
            log.warning("%s: %s", about, problem)


def _seen(record: NodeRecord, age: float) -> NodeSeen:
    return NodeSeen(
        record.name,
        sorted(record.plugins),
        record.slots,
        len(record.running),
        record.draining,
        age,
        record.ended,
    )
