"""Runs of the plugins, in a thread and in processes."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from typing import Any

import pytest

import plugin_framework
from plugin_framework import DatahubPlugin, TaskStatus

from .plugins import DeepResult, LaterWords, Words

TEXT = b"one three two three\n"

isolations = pytest.mark.parametrize("isolation", ["thread", "process"])


def test_each_module_can_be_imported() -> None:
    """Some need what only extras bring, which are all here."""
    found = pkgutil.walk_packages(plugin_framework.__path__, "plugin_framework.")
    names = [one.name for one in found if not one.name.endswith("__main__")]
    # Elsewhere, for a process that has imported what plugins' processes run can start none.
    subprocess.run([sys.executable, "-W", "error", "-c", f"import {', '.join(names)}"], check=True)


@isolations
@pytest.mark.parametrize("plugin", [Words, LaterWords])
def test_a_task(run_plugin: Any, plugin: type[DatahubPlugin], isolation: str) -> None:
    run = run_plugin(plugin, input=TEXT, isolation=isolation)
    assert run.status is TaskStatus.COMPLETED
    assert run.result["total_counts"] == 4


@isolations
def test_an_error(run_plugin: Any, isolation: str) -> None:
    run = run_plugin(Words, input=TEXT, config={"least": 9}, isolation=isolation)
    assert run.error == "no words"


@isolations
def test_a_result_that_nobody_can_read(run_plugin: Any, isolation: str) -> None:
    run = run_plugin(DeepResult, input=bytes(20_000), isolation=isolation)
    assert run.error == "the result is nested more than 900 deep"


@isolations
def test_pause_and_cancel(start_plugin: Any, isolation: str) -> None:
    run = start_plugin(Words, input=TEXT, isolation=isolation, pause_at=2)
    assert run.status is TaskStatus.PAUSED
    run.resume()
    assert run.wait().outputs["words.txt"].text() == "one\nthree\nthree\ntwo"
    stopped = start_plugin(Words, input=TEXT, isolation=isolation, cancel_at=2).wait()
    assert stopped.status is TaskStatus.CANCELLED


def test_a_kill_and_the_attempt_after_it(start_plugin: Any) -> None:
    killed = start_plugin(Words, input=TEXT, isolation="process", kill_at=3).wait()
    again = killed.rerun().wait()
    assert (again.attempt, again.status) == (2, TaskStatus.COMPLETED)
