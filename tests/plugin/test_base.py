"""What authors return and what tasks are configured with."""

from __future__ import annotations

import math
import sys
from collections import UserDict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from plugin_framework import DatahubPlugin, Field, PluginConfig, TaskContext, TaskResult
from plugin_framework.errors import InvalidConfigError, InvalidResultError
from plugin_framework.plugin.base import RESULT_LIMIT, parse_config, result_json
from plugin_framework.plugin.json_limits import DEPTH_LIMIT, DIGITS_LIMIT

COUNTS = {"total_counts": 0, "success_counts": 0, "failed_counts": 0}


class Timed(TaskResult):
    when: datetime
    where: Path


class Inner(PluginConfig):
    size: int


class Other(PluginConfig):
    amount: int


class Configured(DatahubPlugin):
    class Config(PluginConfig):
        count: int = Field(1, ge=1)
        inner: Inner | None = None

    def process(self, ctx: TaskContext[Config]) -> None: ...


def loop() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"in": value}
    return value


@pytest.mark.parametrize(
    ("returned", "sent"),
    [
        (None, COUNTS),
        (TaskResult(total_counts=2), {**COUNTS, "total_counts": 2}),
        (TaskResult(extra=[1, None]), {**COUNTS, "extra": [1, None]}),
        (
            Timed(when=datetime(2026, 1, 2, tzinfo=UTC), where=Path("/x")),
            {**COUNTS, "when": "2026-01-02T00:00:00Z", "where": "/x"},
        ),
        ({"any": {"thing": "é"}}, {"any": {"thing": "é"}}),
        (UserDict(a=1), {"a": 1}),
        ({1: "one", None: (1, 2)}, {"1": "one", "null": [1, 2]}),
    ],
)
def test_a_result_is_plain_json(returned: object, sent: object) -> None:
    assert result_json(returned) == sent


@pytest.mark.parametrize(
    "returned",
    [
        [1],
        "text",
        3,
        True,
        iter([1]),
        {"x": math.nan},
        {"x": [math.inf]},
        {"x": -math.inf},
        {math.nan: 1},
        {"x": "\ud800"},
        {"\udfff": 1},
        {"x": object()},
        {"x": {1}},
        {"x": b"bytes"},
        {(1, 2): 3},
        {"x": 10**5000},
        loop(),
        nested(200_000),
        {"x": nested(DEPTH_LIMIT - 1)},
        {"x": [{"y": "]"}] * 1000, "z": nested(DEPTH_LIMIT - 1)},
        {"x": "x" * RESULT_LIMIT},
        TaskResult(x=math.nan),
        TaskResult(x=object()),
        TaskResult(x=loop()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_sent_is_refused_in_one_line(returned: object) -> None:
    with pytest.raises(InvalidResultError) as caught:
        result_json(returned)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ({"p": Path("x")}, "the result is not JSON at p: Object of type PosixPath is not JSON"),
        ({"a": 1, "files": [1, {"the size": {1}}]}, "at files[1]['the size']: Object of type set"),
        ({"a": [1, math.nan]}, "the result is not JSON at a[1]: Out of range"),
        ({"a": {"b": "\ud800"}}, "the result is not JSON at a.b: 'utf-8' codec"),
        ({"a": {(1, 2): 3}}, "the result is not JSON at a: keys must be str"),
        ({object(): 3}, "the result is not JSON: keys must be str"),
        ({"x": loop()}, "the result is not JSON: Circular reference detected"),
        (TaskResult(x={"y": math.nan}), "the result is not JSON at x.y: Out of range"),
    ],
)
def test_what_is_not_json_has_its_place_told(returned: object, told: str) -> None:
    with pytest.raises(InvalidResultError) as caught:
        result_json(returned)
    assert told in str(caught.value)


def test_a_result_may_be_as_large_as_the_limit() -> None:
    frame = len('{"x":""}')
    assert result_json({"x": "x" * (RESULT_LIMIT - frame)})
    with pytest.raises(InvalidResultError, match=f"takes {RESULT_LIMIT + 1} bytes"):
        result_json({"x": "x" * (RESULT_LIMIT - frame + 1)})
    with pytest.raises(InvalidResultError, match="at most"):
        result_json({"x": "é" * (RESULT_LIMIT // 2)})


def test_a_result_may_be_as_deep_as_the_limit_and_its_text_anything() -> None:
    deep = {"x": nested(DEPTH_LIMIT - 2), "y": [{}] * 1000, '["\\': '\\"' + "[" * 1000}
    assert result_json(deep) == deep
    assert result_json({"digits": "1" * (DIGITS_LIMIT + 1)})


@pytest.fixture
def any_number_of_digits() -> Iterator[None]:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(before)


@pytest.mark.usefixtures("any_number_of_digits")
def test_a_number_may_be_as_long_as_the_limit() -> None:
    assert result_json({"x": [-(10 ** (DIGITS_LIMIT - 1))]})
    for number in (10**DIGITS_LIMIT, -(10**6000)):
        with pytest.raises(InvalidResultError, match="more than 4300 digits"):
            result_json({"x": [number]})


def test_a_config_is_validated() -> None:
    config = parse_config(Configured, {"count": 3, "inner": {"size": 1}})
    assert config == Configured.Config(count=3, inner=Inner(size=1))


def test_every_wrong_field_has_its_line_without_its_value() -> None:
    given = {"count": 0, "inner": {"size": "secret-text"}, "cuont": 1}
    with pytest.raises(InvalidConfigError) as caught:
        parse_config(Configured, given)
    assert [line.partition(":")[0] for line in caught.value.problems] == [
        "config count",
        "config inner.size",
        "config cuont",
    ]
    assert "secret-text" not in str(caught.value)


class Nested(DatahubPlugin):
    class Config(PluginConfig):
        min_length: int = 1
        inners: tuple[Inner, ...] = ()
        either: Inner | Other | None = None
        called: int = Field(1, alias="class")

    def process(self, ctx: TaskContext[Config]) -> None: ...


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"min_lenght": 1}, "min_lenght: there is no such key; did you mean min_length?"),
        ({"zz": 1}, "zz: there is no such key; there is min_length, inners, either, class"),
        ({"called": 1}, "called: there is no such key; there is min_length, inners"),
        ({"inners": [{"size": 1, "sise": 2}]}, "inners.0.sise: there is no such key; did you mean"),
        ({"either": {"size": 1, "sise": 2}}, "either.Inner.sise: there is no such key"),
    ],
)
def test_an_unknown_key_gets_the_near_one_or_all(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        parse_config(Nested, given)
    assert caught.value.problems[0].startswith(f"config {problem}")


def test_a_misspelt_count_is_no_further_field() -> None:
    with pytest.raises(ValueError, match="sucess_counts is no count; did you mean success_counts"):
        TaskResult(sucess_counts=2)
    assert TaskResult(counted=2).model_dump()["counted"] == 2
