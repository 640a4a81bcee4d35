"""The transition table, and the reporter that keeps to it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from plugin_framework.journal.journal import Journal
from plugin_framework.lifecycle.reporter import Reporter
from plugin_framework.lifecycle.states import TRANSITIONS, may_follow
from plugin_framework.protocol.client import DatahubClient
from plugin_framework.protocol.models import TaskStatus
from tests.lifecycle.running import SUBTASK
from tests.strict_datahub import StrictDatahub

STATUSES = st.sampled_from(TaskStatus)


def test_every_status_is_in_the_table() -> None:
    assert set(TRANSITIONS) == set(TaskStatus)


@given(STATUSES, STATUSES)
def test_nothing_follows_an_end_and_nothing_returns_to_the_beginning(
    current: TaskStatus, new: TaskStatus
) -> None:
    if may_follow(current, new):
        assert not current.is_final
        assert new not in {current, TaskStatus.INITIAL}


@given(st.lists(STATUSES, max_size=20))
def test_every_walk_holds_at_most_one_end_and_completes_only_what_runs(
    wanted: list[TaskStatus],
) -> None:
    walk = [TaskStatus.INITIAL]
    for status in wanted:
        if may_follow(walk[-1], status):
            walk.append(status)
    assert sum(status.is_final for status in walk) <= 1
    if TaskStatus.COMPLETED in walk:
        assert walk[-2] is TaskStatus.RUNNING


@contextmanager
def reporting(hub: StrictDatahub, folder: Path) -> Iterator[Reporter]:
    with (
        closing(Journal(folder / "journal.sqlite3")) as journal,
        closing(DatahubClient(hub.url)) as client,
        closing(Reporter(client, journal, SUBTASK, task_id=None)) as reporter,
    ):
        journal.start_attempt(SUBTASK, task_id=None, plugin="p", config={})
        reporter.begin(5)
        yield reporter


@settings(max_examples=25, deadline=None)
@given(st.lists(STATUSES, max_size=8))
def test_whatever_is_reported_reaches_datahub_in_legal_order(wanted: list[TaskStatus]) -> None:
    with tempfile.TemporaryDirectory() as folder, StrictDatahub(SUBTASK) as hub:
        accepted = [1]
        with reporting(hub, Path(folder)) as reporter:
            for status in wanted:
                result = {"n": 1} if status is TaskStatus.COMPLETED else None
                taken = (
                    reporter.end(status, result, {"error": None})
                    if status.is_final
                    else reporter.report(status)
                )
                if taken:
                    accepted.append(int(status))
            assert reporter.wait(10).done
        assert hub.statuses == accepted
        assert hub.violations == []


def test_a_terminal_status_is_no_plain_report(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub, reporting(hub, tmp_path) as reporter:
        assert not reporter.report(TaskStatus.FAILED)
        assert reporter.status is TaskStatus.RUNNING


def test_what_is_reported_after_the_end_is_kept_from_datahub(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub, reporting(hub, tmp_path) as reporter:
        assert reporter.end(TaskStatus.FAILED, None, {"error": "x"})
        assert not reporter.end(TaskStatus.COMPLETED, {}, {"error": None})
        assert not reporter.report(TaskStatus.PAUSED)
        assert reporter.wait(10).done
        assert hub.statuses == [1, 5]


def test_an_answer_from_before_the_beginning_is_about_another_run(tmp_path: Path) -> None:
    asked_at = time.monotonic()
    with StrictDatahub(SUBTASK) as hub, reporting(hub, tmp_path) as reporter:
        assert not reporter.settled_since(asked_at)
        assert reporter.settled_since(time.monotonic())


def test_hurry_ends_a_wait_that_is_under_way(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub, reporting(hub, tmp_path) as reporter:
        hub.fail_next("/api/task/update_status", 1, "hang")
        reporter.end(TaskStatus.FAILED, None, {"error": "x"})
        hub.wait_for(lambda: len(hub.calls) == 2)
        reporter.hurry(0.1)
        assert not reporter.wait(60).done
