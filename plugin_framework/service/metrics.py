"""Figures for Prometheus, where its client library is installed (extra ``telemetry``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from plugin_framework.protocol.models import TaskStatus
from plugin_framework.service.running import Outlook
from plugin_framework.telemetry.figures import ReportBacklog, TaskFigures

LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds: the bounds of the histogram's buckets."""


class Metrics:
    """The figures of one service; ``tasks`` observes those that run in its own process.

    Raises:
        ImportError: prometheus-client is not installed.
    """

    def __init__(self) -> None:
        import prometheus_client  # noqa: PLC0415 - an extra

        self._client = prometheus_client
        self._registry = prometheus_client.CollectorRegistry()
        self.media_type = prometheus_client.CONTENT_TYPE_LATEST
        prometheus_client.ProcessCollector(registry=self._registry)
        self.tasks: TaskFigures = TaskFigures(self._registry)
        self._requests = prometheus_client.Histogram(
            "datahub_request_seconds",
            "How long requests took to answer.",
            ("call", "status"),
            buckets=LATENCIES,
            registry=self._registry,
        )
        self._ended = prometheus_client.Counter(
            "datahub_subtasks_ended",
            "Subtasks that were run to their end, by their status.",
            ("status",),
            registry=self._registry,
        )
        self._subtasks = prometheus_client.Gauge(
            "datahub_subtasks",
            "Subtasks that are not over.",
            ("state",),
            registry=self._registry,
        )

    def watch(self, backlog: Callable[[], tuple[int, float]]) -> None:
        """Show what is not delivered: ``backlog`` is as of ``ReportBacklog``."""
        self._registry.register(ReportBacklog(backlog))

    def request(self, call: str, status: int, seconds: float) -> None:
        """A request was answered; ``call`` is the last part of its path."""
        self._requests.labels(call, str(status)).observe(seconds)

    def ended(self, status: TaskStatus) -> None:
        """A subtask was run to its end."""
        self._ended.labels(status.name.lower()).inc()

    def text(self, counts: Mapping[str, int], outlook: Outlook | None = None) -> bytes:
        """All figures, as Prometheus reads them.

        ``counts`` are subtasks by their state, and ``outlook`` is the cluster, where there is one.
        """
        for state, count in counts.items():
            self._subtasks.labels(state).set(count)
        text: bytes = self._client.generate_latest(self._registry)
        if outlook is not None:
            cluster = self._client.CollectorRegistry()
            cluster.register(_Cluster(outlook))
            text += self._client.generate_latest(cluster)
        return text


class _Cluster:
    """The figures of a cluster; what is gone from it has none any more."""

    def __init__(self, outlook: Outlook) -> None:
        self._outlook = outlook

    def collect(self) -> Iterator[Any]:
        """The families; prometheus-client's contract."""
        from prometheus_client.core import CounterMetricFamily as Counter  # noqa: PLC0415 - an extra
        from prometheus_client.core import GaugeMetricFamily as Gauge  # noqa: PLC0415 - an extra

        nodes, queues = self._outlook.nodes, self._outlook.queues
        offering = Gauge("datahub_nodes", "Nodes that offer a plugin.", labels=["plugin"])
        depth = Gauge(
            "datahub_queue_depth",
            "Subtasks that are with the engine, and that no node has taken.",
            labels=["plugin", "class"],
        )
        oldest = Gauge(
            "datahub_oldest_waiting_seconds",
            "How long the first of the subtasks that wait has waited.",
            labels=["plugin"],
        )
        for queue in queues:
            offers = sum(queue.plugin in node.plugins for node in nodes)
            offering.add_metric([queue.plugin], offers)
            if queue.depth is not None:
                depth.add_metric([queue.plugin, queue.needs], queue.depth)
            oldest.add_metric([queue.plugin], queue.oldest_seconds or 0.0)
        yield from (offering, depth, oldest)
        running = Gauge("datahub_node_running", "Subtasks that a node runs.", labels=["node"])
        slots = Gauge("datahub_node_slots", "Subtasks that a node can run.", labels=["node"])
        ended = Counter(
            "datahub_node_subtasks_ended",
            "Subtasks that a node ran to their end, by their status.",
            labels=["node", "status"],
        )
        for node in nodes:
            running.add_metric([node.name], node.running)
            slots.add_metric([node.name], node.slots)
            for status, count in node.ended.items():
                ended.add_metric([node.name, status], count)
        yield from (running, slots, ended)
        yield Counter(
            "datahub_handed_over",
            "Subtasks that were handed over to the engine.",
            value=self._outlook.handed_over,
        )
        yield Counter(
            "datahub_published_again",
            "Times that one was handed over once more, for no node seemed to have it.",
            value=self._outlook.published_again,
        )
