from __future__ import annotations

import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from plugin_framework import TaskStatus
from plugin_framework.errors import ConfigurationError, JournalError
from plugin_framework.journal.journal import Journal
from plugin_framework.telemetry.exposing import exposed
from plugin_framework.telemetry.figures import ReportBacklog, TaskFigures
from plugin_framework.telemetry.log_facts import LogFacts
from plugin_framework.testing import LocalDatahub
from tests.free_ports import free_ports
from tests.telemetry.spans import run_here
from tests.telemetry.test_observers import Moves


class Figures:
    """What Prometheus reads."""

    def __init__(self, text: str) -> None:
        self._families = list(text_string_to_metric_families(text))

    def __call__(self, name: str, **labels: str) -> float:
        (found,) = [
            sample.value
            for family in self._families
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        ]
        return found


def figures_in(registry: CollectorRegistry) -> Figures:
    from prometheus_client import generate_latest  # noqa: PLC0415 - beside its one use

    return Figures(generate_latest(registry).decode())


def test_a_task_is_counted(datahub: LocalDatahub) -> None:
    registry = CollectorRegistry()
    rules = [
        {"fault": "status", "call": "result", "status": 503, "count": 2},
        {"fault": "status", "call": "put", "status": 503, "count": 1},
    ]
    with datahub.faults(*rules):
        datahub.run(Moves, input=bytes(100_000), extensions=[TaskFigures(registry)])
    of = figures_in(registry)
    assert of("datahub_attempt_seconds_count", plugin="Moves", status="completed") == 1
    assert of("datahub_attempts_running", plugin="Moves") == 0
    assert of("datahub_transfer_bytes_total", direction="upload") == 100_000
    assert of("datahub_transfer_parts_total", direction="upload") == 1
    assert of("datahub_transfer_retries_total", direction="upload") == 1
    assert of("datahub_transfer_seconds_count", direction="upload", outcome="done") == 1
    assert of("datahub_report_tries_total", kind="result", outcome="failed") == 2
    assert of("datahub_report_tries_total", kind="result", outcome="delivered") == 1
    assert of("datahub_heartbeats_total", outcome="sent") >= 1
    assert of("datahub_heartbeat_late_seconds_count") >= 1


def test_nothing_is_kept_of_a_task_that_is_over(datahub: LocalDatahub) -> None:
    figures, facts = TaskFigures(CollectorRegistry()), LogFacts()
    datahub.run(Moves, input=b"0123456789", extensions=[figures, facts])
    assert (figures._open._open, facts._open, facts.by_subtask) == ({}, {}, {})


def test_the_backlog_is_what_the_journal_has(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    journal = Journal(tmp_path / "journal.sqlite3")
    registry.register(ReportBacklog(journal.backlog))
    assert figures_in(registry)("datahub_reports_waiting") == 0
    journal.start_attempt("s", task_id=None, plugin="p", config={})
    kept = [
        journal.add_report("s", status=status, path="/p", body=b"{}")
        for status in (TaskStatus.RUNNING, TaskStatus.PAUSED)
    ]
    of = figures_in(registry)
    assert of("datahub_reports_waiting") == 2
    assert 0 <= of("datahub_report_oldest_seconds") < 60
    for report in kept:
        journal.settle_report(report.report_id, "delivered")
    of = figures_in(registry)
    assert (of("datahub_reports_waiting"), of("datahub_report_oldest_seconds")) == (0, 0)
    journal.close()


def test_a_journal_that_cannot_be_asked_has_no_figure() -> None:
    def broken() -> tuple[int, float]:
        raise JournalError("no disk")

    registry = CollectorRegistry()
    registry.register(ReportBacklog(broken))
    assert list(registry.collect()) == []


def test_a_command_answers_on_its_port_while_it_runs() -> None:
    (port,) = free_ports(1)
    with exposed(f"127.0.0.1:{port}") as observers:
        figures = observers["figures"]
        assert isinstance(figures, TaskFigures)
        figures.datahub_attempt_begun("s", "p")
        of = _scraped(port)
        assert of("datahub_attempts_running", plugin="p") == 1
        assert of("process_resident_memory_bytes") > 1_000_000
        with (
            pytest.raises(ConfigurationError, match="in use"),
            exposed(f"127.0.0.1:{port}"),
        ):
            pass
    with pytest.raises(OSError, match="refused"):
        _scraped(port)


def _scraped(port: int) -> Figures:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        return Figures(answer.read().decode())


def test_a_run_leaves_its_figures_in_a_file(tmp_path: Path) -> None:
    spans = run_here("Counts", tmp_path, DATAHUB_METRICS="left.prom", OTEL_SDK_DISABLED="true")
    assert spans.all == []
    of = Figures((tmp_path / "left.prom").read_text())
    assert of("datahub_attempt_seconds_count", plugin="Counts", status="failed") == 1
    assert of("datahub_attempt_memory_bytes_count", plugin="Counts") == 1


def test_a_file_that_cannot_be_written_fails_nothing(tmp_path: Path) -> None:
    spans = run_here("Looks", tmp_path, DATAHUB_METRICS="missing/left.prom")
    assert spans.ended.code == 0
    assert "missing/left.prom cannot be written" in spans.ended.err


def test_where_nothing_is_asked_for_no_library_is_loaded(tmp_path: Path) -> None:
    """Neither by the supervisor, nor in the plugin's process."""
    code = (
        "import json, sys\n"
        "from plugin_framework import run_local\n"
        "if __name__ == '__main__':\n"
        "    plugin = 'looks:Looks'\n"
        "    done = run_local(plugin, input='looks.py', out='out')\n"
        "    names = ('opentelemetry', 'prometheus_client')\n"
        "    here = [name for name in sys.modules if name.partition('.')[0] in names]\n"
        "    print(json.dumps([here, done.result]))\n"
    )
    (tmp_path / "looks.py").write_text(
        "import sys\n"
        "from plugin_framework import DatahubPlugin\n"
        "class Looks(DatahubPlugin):\n"
        "    def process(self, ctx):\n"
        "        names = ('opentelemetry', 'prometheus_client')\n"
        "        found = [each for each in sys.modules if each.partition('.')[0] in names]\n"
        "        return {'found': found}\n"
    )
    (tmp_path / "main.py").write_text(code)
    ended = subprocess.run(
        [sys.executable, "main.py"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert ended.stdout.strip() == '[[], {"found": []}]'
