"""What is asked of the backlog, on its way to the thread that writes."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal

from plugin_framework.journal.queue import Ended
from plugin_framework.protocol.models import TaskStatus

Addition = Literal["accepted", "known", "busy", "draining"]


@dataclass(frozen=True, slots=True)
class Submission:
    """A subtask to accept; ``config`` is JSON text, ``call`` the number of its signature."""

    subtask_id: str
    task_id: str | None
    plugin: str
    config: str
    call: int | None


def _promise() -> Future[Any]:
    """A future that whoever waits cannot cancel: what was asked for is done, heard of or not."""
    promise: Future[Any] = Future()
    promise.set_running_or_notify_cancel()
    return promise


@dataclass(frozen=True, slots=True)
class Add:
    """Accept a subtask."""

    submission: Submission
    reply: Future[Addition] = field(default_factory=_promise)


@dataclass(frozen=True, slots=True)
class Manage:
    """Resume (1), pause (2) or cancel (4) a subtask."""

    subtask_id: str
    status: TaskStatus
    plugin: str | None
    call: int | None
    reply: Future[None] = field(default_factory=_promise)


@dataclass(frozen=True, slots=True)
class Follow:
    """A subtask was paused or resumed by other means."""

    subtask_id: str
    status: TaskStatus


@dataclass(frozen=True, slots=True)
class Remember:
    """A call was taken."""

    call: int
    reply: Future[None] = field(default_factory=_promise)


@dataclass(frozen=True, slots=True)
class Remove:
    """A subtask is over: it ``ended`` elsewhere or was never run, or was ``refused``."""

    subtask_id: str
    ended: Ended | None = None
    refused: str | None = None
    reply: Future[None] = field(default_factory=_promise)


Change = Add | Manage | Follow | Remember | Remove
