from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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
