"""What tasks, events and log lines look like in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plugin_framework.emulator.logs import LogLine
from plugin_framework.emulator.subtasks import Event, Subtask
from plugin_framework.protocol.models import TaskStatus


def brief(subtask: Subtask, now: float) -> dict[str, Any]:
    """A task as lists have it: without its config and its result, which may be large."""
    beat = subtask.heartbeat_at
    return {
        "subtask_id": subtask.subtask_id,
        "task_id": subtask.task_id,
        "plugin": subtask.plugin,
        "status": int(subtask.status),
        "status_name": subtask.status.name.lower(),
        "requested": None if subtask.requested is None else int(subtask.requested),
        "dispatch": subtask.dispatch,
        "progress": subtask.progress,
        "heartbeat_at": beat,
        "heartbeat_age": None if beat is None else round(max(0.0, now - beat), 3),
        "created_at": subtask.created_at,
        "started_at": subtask.started_at,
        "ended_at": subtask.ended_at,
        "lost": subtask.lost_at is not None,
        "lost_at": subtask.lost_at,
        "reason": subtask.reason,
        "input": _input(subtask),
        "revision": subtask.revision,
    }


def whole(subtask: Subtask, now: float) -> dict[str, Any]:
    """All there is to a task."""
    return brief(subtask, now) | {"config": subtask.config, "result": subtask.result}


def _input(subtask: Subtask) -> dict[str, Any] | None:
    if subtask.input_name is None:
        return None
    return {"name": subtask.input_name, "size": subtask.input_size}


def event_json(event: Event) -> dict[str, Any]:
    """An event."""
    return {
        "number": event.number,
        "at": event.at,
        "kind": event.kind,
        "detail": event.detail,
        "code": event.code,
        "message": event.message,
    }


def line_json(line: LogLine) -> dict[str, Any]:
    """A line of a log."""
    return {
        "number": line.number,
        "at": line.at,
        "level": line.level,
        "logger": line.logger,
        "message": line.message,
    }


def counts_json(counts: Mapping[TaskStatus, int]) -> dict[str, int]:
    """By the number of the status: JSON has no other keys than text."""
    return {str(int(status)): count for status, count in counts.items()}
