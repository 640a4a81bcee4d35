"""The hooks: what a plugin implements, and what extensions wrap and observe.

Order in one task: ``on_start``, ``process``, then one of ``on_success``, ``on_failure`` and
``on_cancel``, then always ``on_finish``. A ``DatahubPlugin`` implements a hook by having a method
of its name. An extension marks its own with ``hookimpl``, and may wrap any of them:

    @hookimpl(wrapper=True)
    def process(ctx):
        result = yield
        return result

A wrapper may replace the result by returning another. What a plugin raises stands whatever wraps
it, and what an extension raises is logged and changes nothing.

``on_payment`` alone belongs to no task.

All ``async def`` hooks of a task share one event loop; but ``on_pause`` and ``on_resume`` have one
of their own where the checkpoint is called while ``process`` holds the shared one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from plugin_framework.plugin.base import TaskResult
    from plugin_framework.plugin.context import TaskContext
    from plugin_framework.protocol.models import TaskStatus

PROJECT = "datahub"
hookspec: pluggy.HookspecMarker = pluggy.HookspecMarker(PROJECT)
hookimpl: pluggy.HookimplMarker = pluggy.HookimplMarker(PROJECT)


class TaskHooks:
    """Called where the plugin's code runs."""

    @hookspec
    def on_start(self, ctx: TaskContext[Any]) -> None:
        """Prepare. The task is running (status 1); a failure here fails it.

        ``ctx.attempt`` above 1 says that it began before. Where ``ctx.work_dir_is_new`` then, that
        was on another machine, or its files are lost: make again what ``process`` needs of them.
        """

    @hookspec(firstresult=True)
    def process(self, ctx: TaskContext[Any]) -> TaskResult | Mapping[str, Any] | None:
        """Do the work and return its result. Files left in ``ctx.output_dir`` are uploaded."""

    @hookspec
    def on_pause(self, ctx: TaskContext[Any]) -> None:
        """Called at the checkpoint where a pause takes hold, before status 2 is reported."""

    @hookspec
    def on_resume(self, ctx: TaskContext[Any]) -> None:
        """Called at the same checkpoint when the task goes on, before status 1 is reported."""

    @hookspec
    def on_cancel(self, ctx: TaskContext[Any]) -> None:
        """Clean up after a cancel, within the grace period; status 4 follows.

        Perhaps without ``on_start`` having run to its end.
        """

    @hookspec
    def on_success(self, ctx: TaskContext[Any], result: TaskResult | Mapping[str, Any]) -> None:
        """Called once the result is safe in the journal. Transfers are over."""

    @hookspec
    def on_failure(self, ctx: TaskContext[Any], error: BaseException) -> None:
        """Called once the failure is safe in the journal, with what was raised."""

    @hookspec
    def on_finish(self, ctx: TaskContext[Any], status: TaskStatus) -> None:
        """Called last, whatever happened, as long as the plugin's process lives.

        ``status`` is not a final one where the task will be started again.
        """

    @hookspec(firstresult=True)
    def on_payment(self, tx_hash: str, subtask_id: str) -> bool | None:
        """A payment for a subtask was announced to the service: say whether it is accepted.

        Called beside the tasks, in a process of its own where they have one, and again where the
        announcement is repeated. A service whose plugin has no such hook takes no payments.
        """


class ObserverHooks:
    """Called in the supervisor, in order, on a thread that delays nothing. For extensions.

    ``datahub_attempt_begun`` alone is called at once: where observers lag, a subtask's next attempt
    may begin before they hear of the end of the last. All else is about the older one until then.
    """

    @hookspec
    def datahub_status_changed(self, subtask_id: str, old: TaskStatus, new: TaskStatus) -> None:
        """A status was decided and is on its way to Datahub."""

    @hookspec
    def datahub_progress(self, subtask_id: str, percent: int) -> None:
        """The progress that heartbeats carry has risen to ``percent``, 0 to 100."""

    @hookspec
    def datahub_transfer(
        self, subtask_id: str, direction: str, name: str, sent: int, total: int
    ) -> None:
        """A file moved on: ``sent`` of ``total`` bytes; ``direction`` is download or upload."""

    @hookspec
    def datahub_report_delivered(self, subtask_id: str, kind: str, body: bytes) -> None:
        """Datahub acknowledged a report; ``kind`` is status or result, ``body`` the JSON sent."""

    @hookspec
    def datahub_stalled(self, subtask_id: str, seconds: float) -> None:
        """The task is alive, but has made no progress for ``seconds``."""

    @hookspec
    def datahub_attempt_begun(
        self, subtask_id: str, plugin: str, attempt: int
    ) -> Mapping[str, str] | None:
        """An attempt begins, and waits for this one hook: be quick.

        What is returned is the trace that it is part of, as W3C's ``traceparent`` and perhaps
        ``tracestate``: it becomes ``ctx.trace_context``.
        """

    @hookspec
    def datahub_attempt_ended(
        self, subtask_id: str, status: TaskStatus, error: str | None, seconds: float, memory: int
    ) -> None:
        """An attempt is over, ``seconds`` after it began; ``error`` is the code of why it failed.

        ``status`` is not a final one where the task will be started again. ``memory`` is the most
        that the plugin's process had, in bytes; 0 where it had none of its own.
        """

    @hookspec
    def datahub_told(self, subtask_id: str, kind: str, facts: Mapping[str, Any]) -> None:
        """The plugin's process has said something to extensions: see ``ctx.tell``.

        Kinds that begin with ``otel:`` are the framework's own.
        """

    @hookspec
    def datahub_transfer_begun(self, subtask_id: str, direction: str, name: str, at: float) -> None:
        """A file is to move; ``at`` is when, in Unix seconds."""

    @hookspec
    def datahub_transfer_ended(
        self,
        subtask_id: str,
        direction: str,
        name: str,
        at: float,
        parts: int,
        retries: int,
        error: str | None,
    ) -> None:
        """It is through, or not, for an ``error`` of that code or class.

        ``parts`` went through in ``retries`` more attempts than that. Of an input that is read in
        place, when the plugin's code has ended.
        """

    @hookspec
    def datahub_report_tried(
        self,
        subtask_id: str,
        kind: str,
        status: TaskStatus,
        at: float,
        error: str | None,
        again: bool,  # noqa: FBT001 - passed by name, as all are
    ) -> None:
        """A report was sent, at ``at`` in Unix seconds; ``error`` is the code of what went wrong.

        ``again`` says whether it will be sent once more for that.
        """

    @hookspec
    def datahub_heartbeat(self, subtask_id: str, late: float, error: str | None) -> None:
        """A heartbeat was sent, ``late`` seconds after its time; ``error`` is as of a report."""

    @hookspec
    def datahub_closing(self) -> None:
        """The supervisor ends, in 5 seconds at the latest: send what you have kept."""


TASK_HOOKS = tuple(name for name in vars(TaskHooks) if not name.startswith("_"))
OBSERVER_HOOKS = tuple(name for name in vars(ObserverHooks) if not name.startswith("_"))
