"""Observers that lag behind what happens."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from plugin_framework import TaskStatus, hookimpl
from plugin_framework.lifecycle.observers import MOST_TOLD, MOST_TOLD_BYTES, Observers
from plugin_framework.telemetry import traces
from plugin_framework.telemetry.exporting import Exporting
from plugin_framework.telemetry.figures import TaskFigures
from plugin_framework.telemetry.log_facts import LogFacts
from tests.telemetry.test_figures import figures_in


class Lags:
    """Hears nothing of heartbeats, and of what is told, until it may."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.told: list[Mapping[str, Any]] = []

    @hookimpl
    def datahub_heartbeat(self) -> None:
        self.may.wait(60)

    @hookimpl
    def datahub_told(self, facts: Mapping[str, Any]) -> None:
        self.may.wait(60)
        self.told.append(facts)


def test_an_attempt_may_begin_before_the_end_of_the_last_is_heard_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(traces, "_providers", [])
    registry, lags, facts = CollectorRegistry(), Lags(), LogFacts()
    exporting, spans = Exporting(()), InMemorySpanExporter()
    exporting.provider.add_span_processor(SimpleSpanProcessor(spans))
    others = {"figures": TaskFigures(registry), "traces": traces.Traces(exporting), "facts": facts}
    observers = Observers({"lags": lags, **others})
    file = {"subtask_id": "s", "direction": "upload", "name": "f"}

    def begin(attempt: int) -> None:
        observers.ask("datahub_attempt_begun", subtask_id="s", plugin="p", attempt=attempt)

    def go_on(status: TaskStatus) -> None:
        observers.tell("datahub_transfer_begun", **file, at=1.0)
        observers.tell("datahub_transfer", **file, sent=5, total=5)
        observers.tell("datahub_transfer_ended", **file, at=2.0, parts=1, retries=0, error=None)
        ended = {"status": status, "error": None, "seconds": 1.0, "memory": 0}
        observers.tell("datahub_attempt_ended", subtask_id="s", **ended)

    begin(1)
    observers.tell("datahub_heartbeat", subtask_id="s", late=0.0, error=None)
    go_on(TaskStatus.FAILED)
    begin(2)
    assert facts.by_subtask["s"]["attempt"] == 2
    lags.may.set()
    go_on(TaskStatus.COMPLETED)
    observers.close()

    of = figures_in(registry)
    assert of("datahub_attempts_running", plugin="p") == 0
    assert of("datahub_transfer_bytes_total", direction="upload") == 10
    assert facts.by_subtask == {}
    ended = [span for span in spans.get_finished_spans() if span.name == "subtask p"]
    about = [(span.attributes or {}) for span in ended]
    assert [(one["datahub.attempt"], one["datahub.status"]) for one in about] == [
        (1, "failed"),
        (2, "completed"),
    ]
    transfers = [span for span in spans.get_finished_spans() if span.name == "transfer upload"]
    assert [one.parent for one in transfers] == [one.context for one in ended]


def test_log_lines_name_the_newest_attempt_until_it_ends() -> None:
    facts = LogFacts()
    observers = Observers({"facts": facts})
    for attempt in (1, 2):
        observers.ask("datahub_attempt_begun", subtask_id="s", plugin="p", attempt=attempt)
    facts.datahub_attempt_ended("s")
    assert facts.by_subtask == {"s": {"attempt": 2}}
    facts.datahub_attempt_ended("s")
    assert facts.by_subtask == {}
    observers.close()


@pytest.mark.parametrize(
    ("text", "most"),
    [("", MOST_TOLD), ("x" * 60_000, MOST_TOLD_BYTES // 60_000)],
    ids=["many", "large"],
)
def test_a_flood_of_what_is_told_is_cut_short(text: str, most: int) -> None:
    """A slow observer must not have the supervisor's memory grow without end."""
    lags = Lags()
    observers = Observers({"slow": lags})
    for number in range(most + 500):
        facts = {"n": number, "text": text}
        observers.tell("datahub_told", subtask_id="s", kind="k", facts=facts)
    lags.may.set()
    observers.close()
    assert most - 1 <= len(lags.told) <= most + 1
    observers = Observers({"quick": lags})
    observers.tell("datahub_told", subtask_id="s", kind="k", facts={"then": "again"})
    observers.close()
    assert lags.told[-1] == {"then": "again"}
