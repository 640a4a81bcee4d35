"""Figures of tasks for Prometheus: an extension that observes, and counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from plugin_framework.errors import JournalError
from plugin_framework.plugin.hookspecs import hookimpl
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.telemetry.attempts import Attempts

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

ATTEMPTS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0)
TRANSFERS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
LATENESS = (0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0)
MEMORY = tuple(float(mebibytes * 1024**2) for mebibytes in (32, 64, 128, 256, 512, 1024, 4096))
"""The bounds of the histograms' buckets, in seconds, and of memory in bytes."""


@dataclass
class _Attempt:
    """Of an attempt the plugin, and its transfers by direction and name: the start, the bytes."""

    plugin: str
    began: dict[tuple[str, str], float] = field(default_factory=dict)
    sent: dict[tuple[str, str], int] = field(default_factory=dict)


class TaskFigures:
    """The figures of the tasks that run in this process, in that registry.

    No label holds the id of a subtask: each would cost memory for good.

    Raises:
        ImportError: prometheus-client is not installed.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Gauge, Histogram  # noqa: PLC0415 - an extra

        def made(kind: Any, name: str, meaning: str, **options: Any) -> Any:
            labels = options.pop("labels", ())
            return kind(f"datahub_{name}", meaning, labels, registry=registry, **options)

        per_plugin = partial(made, labels=("plugin",))
        per_direction = partial(made, labels=("direction",))
        self._running = per_plugin(Gauge, "attempts_running", "Attempts that are under way.")
        self._attempts = made(
            Histogram,
            "attempt_seconds",
            "How long attempts took, by how they ended.",
            labels=("plugin", "status"),
            buckets=ATTEMPTS,
        )
        self._memory = per_plugin(
            Histogram,
            "attempt_memory_bytes",
            "The most memory that the plugin's process of an attempt had.",
            buckets=MEMORY,
        )
        self._stalls = per_plugin(Counter, "stalls", "Times that an attempt stood still.")
        self._late = made(
            Histogram,
            "heartbeat_late_seconds",
            "How long after its time a heartbeat was sent.",
            buckets=LATENESS,
        )
        self._heartbeats = made(
            Counter, "heartbeats", "Heartbeats, by what came of them.", labels=("outcome",)
        )
        self._reports = made(
            Counter,
            "report_tries",
            "Times that a report was sent, by what came of it.",
            labels=("kind", "outcome"),
        )
        self._bytes = per_direction(Counter, "transfer_bytes", "Bytes that transfers moved.")
        self._parts = per_direction(Counter, "transfer_parts", "Parts of files that went through.")
        self._retries = per_direction(
            Counter, "transfer_retries", "Times that a part was tried once more."
        )
        self._transfers = made(
            Histogram,
            "transfer_seconds",
            "How long transfers took, by what came of them.",
            labels=("direction", "outcome"),
            buckets=TRANSFERS,
        )
        self._begin_at_zero()
        self._open = Attempts[_Attempt]()

    def _begin_at_zero(self) -> None:
        """What has not happened yet is 0, and not missing, where all labels are known."""
        for direction in ("download", "upload"):
            for each in (self._bytes, self._parts, self._retries):
                each.labels(direction)
            for outcome in ("done", "failed"):
                self._transfers.labels(direction, outcome)
        for outcome in ("sent", "missed"):
            self._heartbeats.labels(outcome)
        for kind in ("status", "result"):
            for outcome in ("delivered", "failed", "refused"):
                self._reports.labels(kind, outcome)

    @hookimpl
    def datahub_attempt_begun(self, subtask_id: str, plugin: str) -> None:
        """Count it in."""
        self._open.begin(subtask_id, _Attempt(plugin))
        self._running.labels(plugin).inc()

    @hookimpl
    def datahub_attempt_ended(
        self, subtask_id: str, status: TaskStatus, seconds: float, memory: int
    ) -> None:
        """Count it out."""
        attempt = self._open.end(subtask_id)
        if attempt is None:
            return
        plugin = attempt.plugin
        self._running.labels(plugin).dec()
        self._attempts.labels(plugin, status.name.lower()).observe(seconds)
        if memory:
            self._memory.labels(plugin).observe(memory)

    @hookimpl
    def datahub_stalled(self, subtask_id: str) -> None:
        """Count it."""
        self._stalls.labels(self._of(subtask_id).plugin).inc()

    @hookimpl
    def datahub_heartbeat(self, late: float, error: str | None) -> None:
        """Count it, and how late it was."""
        self._late.observe(late)
        self._heartbeats.labels("missed" if error else "sent").inc()

    @hookimpl
    def datahub_report_tried(self, kind: str, error: str | None, again: bool) -> None:  # noqa: FBT001 - the hook's
        """Count it by what came of it."""
        outcome = "failed" if again else "refused" if error else "delivered"
        self._reports.labels(kind, outcome).inc()

    @hookimpl
    def datahub_transfer_begun(self, subtask_id: str, direction: str, name: str, at: float) -> None:
        """Note when."""
        attempt = self._of(subtask_id)
        attempt.began[direction, name] = at
        attempt.sent[direction, name] = 0

    @hookimpl
    def datahub_transfer(self, subtask_id: str, direction: str, name: str, sent: int) -> None:
        """Count the bytes that are new; after a restart of the file, all are."""
        if attempt := self._open.of(subtask_id):
            before = attempt.sent.get((direction, name), 0)
            attempt.sent[direction, name] = sent
            self._bytes.labels(direction).inc(max(sent - before, 0))

    @hookimpl
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
        """Count it, with its parts."""
        began = self._of(subtask_id).began.pop((direction, name), at)
        outcome = "failed" if error else "done"
        self._transfers.labels(direction, outcome).observe(max(at - began, 0.0))
        self._parts.labels(direction).inc(parts)
        self._retries.labels(direction).inc(retries)

    def _of(self, subtask_id: str) -> _Attempt:
        """Outside of one, such as for a late word, what is lost."""
        return self._open.of(subtask_id) or _Attempt("")


class ReportBacklog:
    """How many reports wait, and for how long: asked of the journal when somebody looks.

    ``waiting`` gives their number, and the age of the oldest in seconds.
    """

    def __init__(self, waiting: Callable[[], tuple[int, float]]) -> None:
        self._waiting = waiting

    def collect(self) -> Iterator[Any]:
        """The families; prometheus-client's contract."""
        from prometheus_client.core import GaugeMetricFamily as Gauge  # noqa: PLC0415 - an extra

        try:
            count, age = self._waiting()
        except JournalError:
            return  # there is no figure rather than a wrong one
        yield Gauge("datahub_reports_waiting", "Reports that Datahub does not have yet.", count)
        yield Gauge("datahub_report_oldest_seconds", "How long the oldest of them has waited.", age)
