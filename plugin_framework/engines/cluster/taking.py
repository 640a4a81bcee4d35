"""Takes the lease of a subtask: at once where nobody has it, else once its holder shows no life."""

from __future__ import annotations

import threading
from typing import Protocol

from plugin_framework.engines.cluster.holding import now
from plugin_framework.engines.cluster.message import Message
from plugin_framework.engines.cluster.records import Lease, Sight
from plugin_framework.engines.cluster.store import LeaseStore
from plugin_framework.settings import Settings

LOOK_SECONDS = 0.2
"""Between two looks at a lease whose holder may be dead."""


class AliveError(Exception):
    """Another attempt has the lease, and lives."""


class DrainingError(Exception):
    """Nothing more is begun here."""


class Taker(Protocol):
    """Who takes it: a node."""

    name: str
    settings: Settings
    store: LeaseStore
    draining: threading.Event


def take(node: Taker, message: Message, *, redelivered: bool) -> tuple[Lease, float]:
    """The lease, and the moment of ``holding.now`` when it was asked for.

    A holder is watched where the message says that it may be dead: it was brought to somebody who
    was lost, or it was sent by who knew of that attempt. Else it is a double of the holder's own.

    Raises:
        AliveError: another attempt has it.
        DrainingError: the node came to drain.
        StoreUnreachableError: the store is away. Who looks again then begins to watch anew, for
            those who have leases could not renew them.
    """
    watched: Sight | None = None
    since = 0.0
    while not node.draining.is_set():
        asked_at = now()
        sight = node.store.look(message.subtask_id)
        if sight is not None and sight.held:
            double = watched is None and not redelivered and message.attempt <= sight.number
            if double or sight != (watched or sight):
                raise AliveError(f"attempt {sight.number} of it runs at {sight.node}")
            if watched is None:
                watched, since = sight, now()
            if asked_at - since < node.settings.lease_seconds:
                node.draining.wait(LOOK_SECONDS)
                continue
        asked_at = now()
        lease = node.store.acquire(message.subtask_id, node.name, seen=sight)
        if lease is not None:
            return lease, asked_at
    raise DrainingError
