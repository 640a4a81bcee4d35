"""Things go wrong while a block lasts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from plugin_framework import TaskStatus
from plugin_framework.errors import ConfigurationError
from plugin_framework.testing import LocalDatahub, TaskRun
from tests.testing.kit.plugins import Hooks, Lines

Run = Callable[..., TaskRun]


def test_a_fault_of_the_api(run_plugin: Run, datahub: LocalDatahub) -> None:
    with datahub.faults(fault="status", call="upload_init", status=503, count=1) as chaos:
        run = run_plugin(Lines, input=b"one\n")
        assert [one["injected"] for one in chaos.as_json()["counters"]] == [1]
    assert run.status is TaskStatus.COMPLETED
    assert [one.path for one in run.requests].count("/api/task/upload/init") == 2


def test_a_fault_of_storage(run_plugin: Run, datahub: LocalDatahub) -> None:
    with datahub.faults({"fault": "reset", "call": "get", "bytes": 2, "count": 1}):
        run = run_plugin(Lines, input=b"one\ntwo\n")
    assert run.outputs["counts/lines.txt"].text() == "2"


def test_blocks_within_blocks(run_plugin: Run, datahub: LocalDatahub) -> None:
    with datahub.faults(name="outer", fault="code", call="result", code=1, message="not today"):
        with datahub.faults(name="inner", fault="delay", call="api", seconds=0) as chaos:
            assert [rule.name for rule in chaos.rules] == ["outer", "inner"]
        assert [rule.name for rule in chaos.rules] == ["outer"]
        assert run_plugin(Hooks).outcome.delivered is False  # type: ignore[union-attr]  # it ended
    assert not chaos.active
    assert run_plugin(Hooks).status is TaskStatus.COMPLETED


def test_a_rule_that_is_none(datahub: LocalDatahub) -> None:
    with (
        pytest.raises(ConfigurationError, match="did you mean delay"),
        datahub.faults(fault="dilay"),
    ):
        pass
