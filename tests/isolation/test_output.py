from __future__ import annotations

import logging

import pytest

from plugin_framework.isolation.output import relog


def test_names_of_plugins_loggers_are_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    before = len(logging.root.manager.loggerDict)
    for number in range(1_000):
        relog("s", {"name": f"plugins.own.n{number}", "level": logging.INFO, "message": "so"})
    assert len(logging.root.manager.loggerDict) == before
    last = caplog.records[-1]
    assert (last.name, last.getMessage(), last.__dict__["subtask_id"]) == (
        "plugins.own.n999",
        "so",
        "s",
    )


def test_the_level_of_the_nearest_logger_holds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.ERROR, logger="tests.nearest")
    for level in (logging.WARNING, logging.ERROR):
        relog("s", {"name": "tests.nearest.one.below", "level": level, "message": f"at {level}"})
    assert caplog.messages == ["at 40"]


def test_a_logger_that_there_is_takes_its_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.WARNING, logger="tests.known")
    relog("s", {"name": "tests.known", "level": logging.INFO, "message": "quiet"})
    relog("s", {"name": "tests.known", "level": logging.WARNING, "message": "loud"})
    assert caplog.messages == ["loud"]
