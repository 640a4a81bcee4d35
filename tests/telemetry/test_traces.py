from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from plugin_framework.telemetry.cleaning import Cleaned
from plugin_framework.telemetry.traces import MOST_HOOKS
from tests.telemetry.plugins import SECRET
from tests.telemetry.spans import Spans, identity, run_here

OUTER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Spans:
    spans = run_here("Counts", tmp_path_factory.mktemp("counted"))
    assert spans.ended.code == 0
    return spans


def test_there_is_a_span_for_the_subtask_each_hook_transfer_and_report(counted: Spans) -> None:
    assert sorted(span["name"] for span in counted.all) == [
        "count",
        "hook on_start",
        "hook process",
        "report result",
        "report status",
        "subtask Counts",
        "transfer download",
        "transfer upload",
    ]
    assert {span["status"]["status_code"] for span in counted.all} == {"UNSET"}


def test_they_are_one_trace_below_the_subtask(counted: Spans) -> None:
    subtask, process = counted.one("subtask Counts"), counted.one("hook process")
    assert {identity(span)[0] for span in counted.all} == {identity(subtask)[0]}
    assert subtask["parent_id"] is None
    assert counted.one("count")["parent_id"] == process["context"]["span_id"]
    others = [span for span in counted.all if span not in (subtask, counted.one("count"))]
    assert {span["parent_id"] for span in others} == {subtask["context"]["span_id"]}


def test_they_say_what_they_are_about(counted: Spans) -> None:
    assert counted.one("subtask Counts")["attributes"] == {
        "datahub.subtask_id": "local",
        "datahub.plugin": "Counts",
        "datahub.attempt": 1,
        "datahub.status": "completed",
    }
    assert counted.one("transfer download")["attributes"] == {
        "datahub.transfer.direction": "download",
        "datahub.transfer.name": "given.txt",
        "datahub.transfer.size": 11,
        "datahub.transfer.parts": 1,
        "datahub.transfer.retries": 0,
    }
    assert counted.one("report result")["attributes"] == {"datahub.status": "completed"}


def test_the_authors_own_span_is_whole(counted: Spans) -> None:
    own = counted.one("count")
    assert own["attributes"] == {"words": 3}
    assert [(event["name"], event["attributes"]) for event in own["events"]] == [
        ("counted", {"so": "far"})
    ]
    assert own["resource"]["attributes"]["service.name"] == "datahub-plugin"


def test_a_command_gets_the_span_that_it_is_run_in(counted: Spans) -> None:
    result = counted.ended.outcome["result"]
    assert tuple(result["seen"].split("-")[1:3]) == identity(counted.one("count"))
    assert tuple(result["task"].split("-")[1:3]) == identity(counted.one("subtask Counts"))


def test_log_lines_name_the_attempt_and_its_trace(counted: Spans) -> None:
    about = [line for line in counted.ended.log if "subtask_id" in line]
    assert {line["logger"] for line in about} == {"datahub.runner", "datahub.plugin.Counts"}
    told = {(line["attempt"], line["trace_id"], line["span_id"]) for line in about}
    assert told == {(1, *identity(counted.one("subtask Counts")))}


def test_no_query_of_a_url_is_in_any_span(counted: Spans) -> None:
    shown = str(counted.all)
    assert [word for word in ("?", "http:", "ignature", "redential") if word in shown] == []


def test_async_hooks_have_each_their_own_span(tmp_path: Path) -> None:
    spans = run_here("AsyncCounts", tmp_path)
    for own, hook in (("prepare", "hook on_start"), ("count", "hook process")):
        assert spans.one(own)["parent_id"] == spans.one(hook)["context"]["span_id"]


def test_hooks_in_a_thread_have_spans_too(tmp_path: Path) -> None:
    spans = run_here("Counts", tmp_path, DATAHUB_ISOLATION="thread")
    assert spans.one("count")["parent_id"] == spans.one("hook process")["context"]["span_id"]
    assert tuple(spans.ended.outcome["result"]["seen"].split("-")[1:3]) == identity(
        spans.one("count")
    )


def test_the_trace_of_the_environment_goes_on(tmp_path: Path) -> None:
    subtask = run_here("Counts", tmp_path, TRACEPARENT=OUTER).one("subtask Counts")
    assert identity(subtask)[0] == OUTER.split("-")[1]
    assert subtask["parent_id"] == f"0x{OUTER.split('-')[2]}"


def test_what_is_not_sampled_costs_no_span_anywhere(tmp_path: Path) -> None:
    spans = run_here("Counts", tmp_path, OTEL_TRACES_SAMPLER="always_off")
    assert spans.all == []
    assert spans.ended.outcome["result"]["task"].endswith(("-00", "-02"))


def test_a_crash_ends_the_spans_it_cuts_short_as_errors(tmp_path: Path) -> None:
    spans = run_here("Segfaults", tmp_path)
    assert spans.ended.code == 1
    hook, subtask = spans.one("hook process"), spans.one("subtask Segfaults")
    assert hook["status"] == {"status_code": "ERROR", "description": "cut short"}
    assert subtask["status"]["status_code"] == "ERROR"
    assert subtask["attributes"]["error.type"] == "DH-504"
    assert hook["parent_id"] == subtask["context"]["span_id"]


def test_an_error_is_named_by_its_class_and_says_no_more(tmp_path: Path) -> None:
    spans = run_here("Refuses", tmp_path)
    hook, subtask = spans.one("hook process"), spans.one("subtask Refuses")
    assert (hook["status"]["status_code"], hook["attributes"]["error.type"]) == (
        "ERROR",
        "ValueError",
    )
    assert subtask["attributes"]["error.type"] == "DH-501"
    assert SECRET not in str(spans.all)


def test_what_is_told_in_vain_changes_nothing(tmp_path: Path) -> None:
    spans = run_here("Floods", tmp_path)
    assert spans.ended.outcome["result"] == {"done": True}
    assert spans.one("subtask Floods")["attributes"]["datahub.status"] == "completed"
    assert "large" not in {span["name"] for span in spans.all}
    what = "subtask local: its plugin tells of a span that is none"
    assert [line for line, _ in _told(spans) if line.startswith(what)] == [f"{what}: KeyError"]


def test_forged_spans_are_few_and_cost_no_other(tmp_path: Path) -> None:
    spans = run_here("Forges", tmp_path)
    assert spans.one("subtask Forges")["attributes"]["datahub.status"] == "completed"
    assert spans.one("hook process")["status"]["status_code"] == "UNSET"
    assert spans.one("forged")["attributes"] == {
        "deep": {"none": "None"},
        "large": str(10**30),
    }
    names = [span["name"] for span in spans.all]
    assert "late" not in names
    assert 0 < names.count("begun") <= MOST_HOOKS


@pytest.mark.parametrize("isolation", ["process", "thread"])
def test_an_authors_span_loses_the_queries_of_urls(isolation: str, tmp_path: Path) -> None:
    run_here("Leaks", tmp_path, **_to_file(tmp_path), DATAHUB_ISOLATION=isolation)
    (own,) = [span for span in _in_file(tmp_path) if span["name"] == "own"]
    told = own["events"][0]["attributes"]
    assert told["exception.message"] == "403 for url: https://store.example/o?..."
    assert "Traceback" in told["exception.stacktrace"]
    assert own["attributes"] == {"https://store.example/o?...": ["https://store.example/o?..."]}
    assert SECRET not in str(own)


def test_what_is_exported_holds_no_credential_and_breaks_no_encoder() -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("any")
    name = f"o/a?Signature={SECRET}"
    given = tracer.start_span("good", attributes={"datahub.transfer.name": name, "bad": "\ud800"})
    given.end()
    beyond = tracer.start_span("beyond", start_time=10**30)
    beyond.end()
    exported = InMemorySpanExporter()
    assert isinstance(given, ReadableSpan)
    assert isinstance(beyond, ReadableSpan)
    Cleaned(exported).export([beyond, given])
    (span,) = exported.get_finished_spans()
    assert span.attributes == {"datahub.transfer.name": "o/a?...", "bad": "?"}


def test_no_value_of_a_header_for_the_collector_is_logged(tmp_path: Path) -> None:
    headers = f"Authorization Bearer {SECRET},a=b"
    spans = run_here("Looks", tmp_path, **_to_file(tmp_path), OTEL_EXPORTER_OTLP_HEADERS=headers)
    assert "subtask Looks" in {span["name"] for span in _in_file(tmp_path)}
    what = "OTEL_EXPORTER_OTLP_HEADERS: what is not NAME=VALUE, with commas between, is left out"
    assert _told(spans) == [(what, "DH-102")]
    assert SECRET not in spans.ended.err


@pytest.mark.parametrize("broken", ["%0A", "%E2%82%AC"])
def test_a_header_that_cannot_be_sent_is_one_line(broken: str, tmp_path: Path) -> None:
    headers = f"authorization={SECRET}{broken}{SECRET}"
    spans = run_here("Looks", tmp_path, **_to_file(tmp_path), OTEL_EXPORTER_OTLP_HEADERS=headers)
    assert spans.ended.code == 0
    what = "nothing is traced: OTEL_EXPORTER_OTLP_HEADERS: expected printable ASCII"
    assert _told(spans) == [(what, "DH-102")]
    assert SECRET not in spans.ended.err


def _to_file(folder: Path) -> dict[str, str]:
    """An exporter that reads its headers as those of OTLP do, and that no log line passes by."""
    about = folder / "exporter" / "files-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: files\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[opentelemetry_traces_exporter]\nfiles = files:made\n")
    (folder / "exporter" / "files.py").write_text(
        "import os\n"
        "from opentelemetry.sdk.trace.export import ConsoleSpanExporter\n"
        "from opentelemetry.util.re import parse_env_headers\n"
        "def made():\n"
        "    parse_env_headers(os.environ.get('OTEL_EXPORTER_OTLP_HEADERS', ''), liberal=True)\n"
        "    line = lambda span: span.to_json(indent=None) + '\\n'\n"
        "    return ConsoleSpanExporter(out=open('exported', 'w'), formatter=line)\n"
    )
    path = os.pathsep.join(filter(None, (str(folder / "exporter"), os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": path, "OTEL_TRACES_EXPORTER": "files"}


def _in_file(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "exported").read_text().splitlines()]


@pytest.mark.parametrize(
    ("env", "missing"),
    [
        (
            {"OTEL_TRACES_EXPORTER": "", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
            ("otlp", "opentelemetry-exporter-otlp-proto-grpc"),
        ),
        (
            {"OTEL_TRACES_EXPORTER": "zipkin"},
            ("zipkin", "opentelemetry-exporter-zipkin"),
        ),
    ],
)
def test_an_exporter_that_is_missing_is_one_line(
    env: dict[str, str], missing: tuple[str, str], tmp_path: Path
) -> None:
    spans = run_here("Looks", tmp_path, **env)
    assert spans.ended.code == 0
    exporter, package = missing
    told = f"the exporter {exporter} is not installed: pip install {package}"
    assert _told(spans) == [(f"nothing is traced: {told}", "DH-613")]


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path) -> None:
    _hide(tmp_path / "hidden", "opentelemetry", "prometheus_client")
    env = {"PYTHONPATH": str(tmp_path / "hidden"), "DATAHUB_METRICS": "figures.prom"}
    (tmp_path / "plain.py").write_text(
        "from plugin_framework import DatahubPlugin\n"
        "class Plain(DatahubPlugin):\n"
        "    '''Does nothing.'''\n"
        "    def process(self, ctx):\n"
        "        return {'trace': ctx.trace_context}\n"
    )
    spans = _run_plain(tmp_path, env)
    assert spans.ended.outcome["result"] == {"trace": {}}
    install = "pip install 'datahub-plugin-framework[telemetry]'"
    assert _told(spans) == [
        (f"DATAHUB_METRICS: no figures are kept: {install}", "DH-613"),
        (f"nothing is traced: OpenTelemetry is not installed: {install}", "DH-613"),
    ]
    assert not (tmp_path / "figures.prom").exists()


def _run_plain(tmp_path: Path, env: dict[str, str]) -> Spans:
    from tests.cli.calling import call  # noqa: PLC0415 - beside its one use
    from tests.telemetry.spans import CONSOLE  # noqa: PLC0415 - beside its one use

    (tmp_path / "given.txt").write_text("")
    where = ("--local", "given.txt", "--out", "out")
    return Spans(call("run", "plain:Plain", *where, cwd=tmp_path, env={**CONSOLE, **env}))


def _hide(folder: Path, *packages: str) -> None:
    """Let these packages be missing."""
    for name in packages:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise ModuleNotFoundError(__name__)\n")


def _told(spans: Spans) -> list[tuple[Any, Any]]:
    lines = [line for line in spans.ended.log if line["logger"] == "datahub.telemetry"]
    return [(line["message"], line.get("code")) for line in lines]
