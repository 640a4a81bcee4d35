"""Whether a node has the store of the service that sent a message.

A store has an identity, which it keeps and messages carry: a node with another store sees nothing
of what the others do with a subtask.
"""

from __future__ import annotations

import logging
import secrets

from plugin_framework.engines.cluster.message import Message
from plugin_framework.engines.cluster.store import LeaseStore
from plugin_framework.errors import Code, Problem

IDENTITY = "identity"
"""The name of the fact."""

log: logging.Logger = logging.getLogger("datahub.node")


class Identity:
    """The identity that a service puts into messages. For several threads.

    A store that forgot it gets it back, for there may be messages with it in the queue.
    """

    def __init__(self) -> None:
        self._last = secrets.token_hex(8)

    def of(self, store: LeaseStore) -> str:
        """The store's, which has one from now on.

        Raises:
            StoreUnreachableError: nobody knows.
        """
        known = store.known(IDENTITY) or store.learn_first(IDENTITY, self._last)
        self._last = str(known)
        return self._last


class Familiar:
    """What a node knows of the services whose messages come to it. For several threads."""

    def __init__(self, store: LeaseStore) -> None:
        self._store = store
        self._ours: set[str] = set()
        self._others: set[str] = set()

    def is_ours(self, message: Message) -> bool:
        """Whether its service has the same store; what is not is said once of each store.

        Raises:
            StoreUnreachableError: nobody knows.
        """
        if message.store in self._ours:
            return True
        if self._store.known(IDENTITY) == message.store:
            self._ours.add(message.store)
            return True
        # The store may have got another since it was sent, with all that the service opened.
        if self._store.look(message.subtask_id) is not None:
            return True
        if message.store not in self._others:
            self._others.add(message.store)
            what = "the service that sends subtasks has another store: they are given back"
            log.error("%s", Problem(what, Code.STORE_UNSUITABLE))
        return False
