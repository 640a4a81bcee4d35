"""Figures for Prometheus, where its client library is installed (extra ``telemetry``)."""

from __future__ import annotations

from collections.abc import Mapping

from plugin_framework.protocol.models import TaskStatus

LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds: the bounds of the histogram's buckets."""


class Metrics:
    """The figures of one service.

    Raises:
        ImportError: prometheus-client is not installed.
    """

    def __init__(self) -> None:
        import prometheus_client  # noqa: PLC0415 - an extra

        self._client = prometheus_client
        self._registry = prometheus_client.CollectorRegistry()
        self.media_type = prometheus_client.CONTENT_TYPE_LATEST
        prometheus_client.ProcessCollector(registry=self._registry)
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

    def request(self, call: str, status: int, seconds: float) -> None:
        """A request was answered; ``call`` is the last part of its path."""
        self._requests.labels(call, str(status)).observe(seconds)

    def ended(self, status: TaskStatus) -> None:
        """A subtask was run to its end."""
        self._ended.labels(status.name.lower()).inc()

    def text(self, counts: Mapping[str, int]) -> bytes:
        """All figures, as Prometheus reads them; ``counts`` are subtasks by their state."""
        for state, count in counts.items():
            self._subtasks.labels(state).set(count)
        return self._client.generate_latest(self._registry)
