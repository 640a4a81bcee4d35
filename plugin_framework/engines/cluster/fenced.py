"""What Datahub is told by an attempt, it is told while the attempt has its lease."""

from __future__ import annotations

import json
import math
from typing import Protocol

from plugin_framework.engines.cluster.holding import Gate
from plugin_framework.errors import StoreUnreachableError
from plugin_framework.protocol.models import TaskStatus

_STATUS, _RESULT = "/api/task/update_status", "/api/task/result"
_HEARTBEAT = "/api/task/heartbeat"
_QUESTIONS = frozenset({"/api/task/notify", "/api/task/download/presign"})


class KeptEndings(Protocol):
    """What knows which endings are in the store."""

    def is_kept(self, path: str, body: bytes) -> bool:
        """Whether the store has this as the subtask's ending."""


class Fence:
    """The guard of an attempt's client; see ``DatahubClient.guarded``.

    What tells of an attempt arrives before anybody can have taken its lease, or not at all. Not so
    an ending, which may take long to send: it is in the store before, where all find the same.
    """

    def __init__(self, gate: Gate, endings: KeptEndings) -> None:
        self._gate = gate
        self._endings = endings

    def __call__(self, path: str, body: bytes) -> float:
        """For how many seconds the call may be made.

        Raises:
            LeaseLostError: another attempt has the lease.
            StoreUnreachableError: whether that is so is not known, or the ending is not in it yet.
        """
        if path in _QUESTIONS:
            return math.inf
        left = self._gate.check()
        if path == _RESULT or (path == _STATUS and _is_final(body)):
            if not self._endings.is_kept(path, body):
                raise StoreUnreachableError("how the subtask ended is not in the store yet")
            return math.inf
        return left if path in {_STATUS, _HEARTBEAT} else math.inf


def _is_final(body: bytes) -> bool:
    return TaskStatus(json.loads(body)["status"]).is_final
