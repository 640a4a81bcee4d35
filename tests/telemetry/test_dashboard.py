"""The dashboard and the alert rules name metrics that exist, in PromQL that parses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml  # type: ignore[import-untyped]  # it has no hints

from tests.docs.generator import load

FOLDER = Path(__file__).parents[2] / "docs" / "how-to" / "deploy" / "observability"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [
    *(target["expr"] for panel in PANELS for target in panel["targets"]),
    *(rule["expr"] for rule in RULES),
]
# Grafana fills these in.
FILLED_IN = {"$__rate_interval": "5m", "$instance": ".*", "$plugin": ".*"}


def samples() -> dict[str, set[str]]:
    """The labels of each name that Prometheus stores, as the reference has them."""
    known: dict[str, set[str]] = {}
    for name, kind, labels, _ in load("generate.py")["metrics"]():
        own = {*labels, "instance", "job"}
        known[name] = own
        if kind == "histogram":
            known |= {f"{name}_bucket": own | {"le"}, f"{name}_count": own, f"{name}_sum": own}
    return known


KNOWN = samples()


def selectors(node: Any) -> Iterator[Any]:
    """All selectors of metrics in an expression."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for part in ("lhs", "rhs", "expr", "param", "vector_selector", "vs"):
        if (below := getattr(node, part, None)) is not None and below is not node:
            yield from selectors(below)
    for argument in getattr(node, "args", None) or ():
        yield from selectors(argument)


def parsed(expression: str) -> Any:
    for variable, value in FILLED_IN.items():
        expression = expression.replace(variable, value)
    return promql_parser.parse(expression)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_is_of_metrics_and_labels_that_there_are(expression: str) -> None:
    found = list(selectors(parsed(expression)))
    assert len(found) == len(re.findall(r"\b(?:datahub|process)_\w+", expression))
    for selector in found:
        wanted = {one.name for one in selector.matchers.matchers}
        assert wanted <= KNOWN[selector.name], selector.name
    grouped = re.findall(r"\bby \(([^)]*)\)", expression)
    labels = {label.strip() for group in grouped for label in group.split(",")}
    assert labels <= set().union(*(KNOWN[selector.name] for selector in found))


def test_what_is_no_metric_or_no_expression_is_found() -> None:
    (selector,) = selectors(parsed("sum by (le) (rate(datahub_nonsense_total[5m])) > 1"))
    assert selector.name not in KNOWN
    with pytest.raises(ValueError, match="parenthesis"):
        parsed("rate(datahub_heartbeats_total[5m]")


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    assert DASHBOARD["schemaVersion"] >= 36
    assert DASHBOARD["title"]
    assert re.fullmatch(r"[a-z-]{1,40}", DASHBOARD["uid"])
    assert "id" not in DASHBOARD  # it is the importing Grafana's
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == (
        "datasource",
        "prometheus",
    )
    used = {name for text in EXPRESSIONS for name in re.findall(r"\$([a-z]\w*)", text)}
    assert used == variables.keys() - {"datasource"}
    asked = [one["definition"] for one in variables.values() if one["type"] == "query"]
    for metric, label in (re.findall(r"\w+", one)[1:] for one in asked):
        assert label in KNOWN[metric]


def test_its_panels_are_whole_and_lie_side_by_side() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not taken & cells
        taken |= cells
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert [one["datasource"] for one in (panel, *panel["targets"])] == [source] * (
            1 + len(panel["targets"])
        )


def test_what_an_operator_looks_for_is_on_the_dashboard() -> None:
    shown = {
        selector.name
        for panel in PANELS
        for target in panel["targets"]
        for selector in selectors(parsed(target["expr"]))
    }
    families = {re.sub(r"_(?:bucket|count|sum)$", "", name) for name in shown}
    assert {
        "datahub_attempt_seconds",
        "datahub_heartbeat_late_seconds",
        "datahub_reports_waiting",
        "datahub_report_oldest_seconds",
        "datahub_transfer_bytes_total",
        "datahub_transfer_parts_total",
        "datahub_transfer_retries_total",
        "datahub_queue_depth",
        "process_resident_memory_bytes",
        "datahub_attempt_memory_bytes",
    } <= families


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Datahub[A-Z][A-Za-z]+", rule["alert"])
    assert re.fullmatch(r"\d+[smhd]", rule.get("for", "0s"))
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "action"}
    text = " ".join(rule["annotations"].values())
    told = set(re.findall(r"\$labels\.(\w+)", text))
    # An aggregation leaves only what it is made by.
    grouped = re.findall(r"\bby \(([^)]*)\)", rule["expr"])
    left = {label.strip() for group in grouped for label in group.split(",")}
    names = [selector.name for selector in selectors(parsed(rule["expr"]))]
    assert told <= (left or set.intersection(*(KNOWN[name] for name in names)))


def test_each_rule_has_a_name_of_its_own() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
