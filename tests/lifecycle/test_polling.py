"""One question for each task id, whoever wants to know; fewer of each where there are many."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any, cast

import pytest

from plugin_framework.errors import DatahubError, ServerUnavailableError
from plugin_framework.lifecycle.heartbeat import Ticker
from plugin_framework.lifecycle.polling import CALLS_PER_SECOND, Polls
from plugin_framework.protocol.client import DatahubClient
from plugin_framework.protocol.models import TaskStatus
from tests.strict_datahub import StrictDatahub
from tests.strict_rules import NOTIFY

DEADLINE = 30

Answers = queue.SimpleQueue[TaskStatus | DatahubError]


@pytest.fixture
def hub() -> Iterator[StrictDatahub]:
    with StrictDatahub("polled") as running:
        yield running


@pytest.fixture
def ticker() -> Iterator[Ticker]:
    with closing(Ticker()) as running:
        yield running


@pytest.fixture
def polls(hub: StrictDatahub, ticker: Ticker) -> Iterator[Polls]:
    with DatahubClient(hub.url) as client:
        yield Polls(client, ticker, 0.05)


def asked(hub: StrictDatahub) -> int:
    return sum(call.path == NOTIFY for call in hub.calls)


def watch(polls: Polls) -> tuple[Any, Answers]:
    answers: Answers = queue.SimpleQueue()
    return polls.watch("polled", lambda _at, answer: answers.put(answer)), answers


def test_all_who_watch_a_task_are_told_of_one_question(hub: StrictDatahub, polls: Polls) -> None:
    watching = [watch(polls) for _ in range(20)]
    for _, answers in watching:
        assert answers.get(timeout=DEADLINE) is TaskStatus.INITIAL
        assert answers.get(timeout=DEADLINE) is TaskStatus.INITIAL
    told = min(answers.qsize() for _, answers in watching) + 2
    assert asked(hub) <= told + 2, "not one for each of the twenty"


def test_who_has_stopped_is_told_nothing_and_the_last_ends_the_questions(
    hub: StrictDatahub, polls: Polls
) -> None:
    (first, heard), (second, answers) = watch(polls), watch(polls)
    answers.get(timeout=DEADLINE)
    first.stop(wait=True)
    before = heard.qsize()
    answers.get(timeout=DEADLINE)
    assert heard.qsize() == before
    second.stop(wait=True)
    second.stop(wait=True)
    assert not polls._questions
    _, again = watch(polls)
    assert again.get(timeout=DEADLINE) is TaskStatus.INITIAL


def test_a_failed_question_is_told_and_asked_again(hub: StrictDatahub, polls: Polls) -> None:
    hub.stop_listening()
    poll, answers = watch(polls)
    while not isinstance(answers.get(timeout=DEADLINE), DatahubError):
        pass
    hub.start_listening()
    while answers.get(timeout=DEADLINE) is not TaskStatus.INITIAL:
        pass
    poll.stop(wait=True)


def test_the_more_are_watched_the_longer_the_interval(polls: Polls) -> None:
    watching = [polls.watch(f"task-{n}", lambda _at, _answer: None) for n in range(40)]
    assert polls._interval() == len(watching) / CALLS_PER_SECOND
    for poll in watching:
        assert poll is not None
        poll.stop(wait=False)
    assert polls._interval() == 0.05


def test_nothing_is_asked_where_polling_is_off(hub: StrictDatahub, ticker: Ticker) -> None:
    with DatahubClient(hub.url) as client:
        assert Polls(client, ticker, 0).watch("polled", lambda _at, _answer: None) is None


def test_datahub_is_asked_nothing_for_as_long_as_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [1000.0]
    asked_at: list[float] = []
    calls: list[Callable[[], object]] = []

    class Busy:
        def notify(self, *_: object, **__: object) -> TaskStatus:
            asked_at.append(times[-1])
            raise ServerUnavailableError("busy", retry_after=60 if times == [1000] else None)

    class ByHand:
        def start(self, _seconds: Callable[[], float], call: Callable[[], object]) -> Any:
            calls.append(call)

    clock = SimpleNamespace(monotonic=lambda: times[-1])
    monkeypatch.setattr("plugin_framework.lifecycle.polling.time", clock)
    polls = Polls(cast("DatahubClient", Busy()), cast("Ticker", ByHand()), 5)
    for task in ("one", "other"):
        polls.watch(task, lambda _at, _answer: None)
    for call in calls:
        call()
    for later in (1005.0, 1059.0, 1061.0, 1065.0):
        times.append(later)
        for call in calls:
            call()
    assert asked_at == [1000, 1061, 1061, 1065, 1065]
