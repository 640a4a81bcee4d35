"""The life of a subtask as data (PROTOCOL.md, 1.5 and 2.7). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from plugin_framework.protocol.models import TaskStatus

INITIAL, RUNNING, PAUSED = TaskStatus.INITIAL, TaskStatus.RUNNING, TaskStatus.PAUSED
COMPLETED, CANCELLED, FAILED = TaskStatus.COMPLETED, TaskStatus.CANCELLED, TaskStatus.FAILED

TRANSITIONS: Mapping[TaskStatus, frozenset[TaskStatus]] = MappingProxyType(
    {
        INITIAL: frozenset({RUNNING}),
        RUNNING: frozenset({PAUSED, COMPLETED, CANCELLED, FAILED}),
        # What is paused may also be ended: by a cancel, a signal, a crash, a time limit.
        PAUSED: frozenset({RUNNING, CANCELLED, FAILED}),
        COMPLETED: frozenset(),
        CANCELLED: frozenset(),
        FAILED: frozenset(),
    }
)


def may_follow(current: TaskStatus, new: TaskStatus) -> bool:
    """Whether ``new`` may be reported after ``current``."""
    return new in TRANSITIONS[current]
