"""The soak, short: it keeps its promises, and finds what was planted."""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.soak import Plan, run
from benchmarks.soaking.checks import Checks, Expected, Marks
from benchmarks.soaking.findings import Findings
from benchmarks.soaking.parties import Service
from benchmarks.soaking.samples import MIB, OF_A_LIFE, OF_THE_RUN, Sample, lives_of, trends
from benchmarks.soaking.work import KINDS, Inputs, identity
from plugin_framework.emulator.rules import Refused
from plugin_framework.emulator.store import Assignment, Store
from plugin_framework.engines.local import JOURNAL
from plugin_framework.protocol.models import TaskStatus
from tests.compatibility.journals import FORMATS, restore
from tests.emulator.platform.reporting import report

FLAT = Sample(
    at=0,
    life=1,
    rss=100 * MIB,
    forker=40 * MIB,
    tree=300 * MIB,
    threads=20,
    handles=40,
    processes=5,
    zombies=0,
    journal=MIB,
    state=8 * MIB,
    state_files=60,
)
SHORT = Plan(rate=5, pace=0.2, sample=0.2, kills=2, hits=1, outages=3, outage=2, settle=1, drain=90)


@pytest.mark.long
def test_all_kinds_come_to_their_end_under_kills_and_outages() -> None:
    found = run(dataclasses.replace(SHORT, seconds=6, seed=1, spells=((0.3, 0.7),)))
    assert found.wrong == []
    assert {ended.split()[0] for ended in found.ended} == KINDS.keys()
    assert found.done["service SIGKILL"] + found.done["service SIGTERM"] > 0
    assert found.outputs > 0
    assert found.faults.total() > 0
    kept = json.loads(json.dumps(found.as_json()))
    assert kept["ended"] == found.ended
    assert len(kept["samples"]) == len(found.samples) > 0


def test_what_is_planted_is_found() -> None:
    plan = dataclasses.replace(SHORT, seconds=6, seed=2, spells=(), life=3, outages=99, hits=99)
    plugins = ("tests.benchmarks.planted:Works", "tests.benchmarks.planted:Threads")
    found = run(dataclasses.replace(plan, plugins=plugins))
    assert any(line.startswith("it grows: file handles") for line in found.wrong), found.wrong
    assert any(line.startswith("wrong bytes: ") for line in found.wrong), found.wrong


def grown(change: Callable[[int], dict[str, Any]]) -> list[str]:
    samples = [dataclasses.replace(FLAT, at=2 * n, **change(n)) for n in range(100)]
    every = trends(samples, {**OF_A_LIFE, **OF_THE_RUN})
    return [one.title for one in every if not one.flat]


def test_what_comes_and_goes_does_not_grow() -> None:
    assert grown(lambda n: {}) == []
    assert grown(lambda n: {"threads": 20 + 30 * (n % 2), "rss": (100 + 40 * (n % 3)) * MIB}) == []


@pytest.mark.parametrize("name", [*OF_A_LIFE, *OF_THE_RUN])
def test_each_figure_that_grows_is_named(name: str) -> None:
    per_sample = {"zombies": 0.1, "threads": 0.5, "handles": 0.7, "state_files": 2}
    step = per_sample.get(name, 3 * MIB)
    before = getattr(FLAT, name)
    title = {**OF_A_LIFE, **OF_THE_RUN}[name].title
    assert grown(lambda n: {name: int(before + n * step)}) == [title]


def test_only_lives_that_are_long_enough_are_judged() -> None:
    samples = [dataclasses.replace(FLAT, at=n, life=1 + n // 60) for n in range(90)]
    assert [life[0].life for life in lives_of(samples, 50)] == [1]
    assert trends(samples[:8], OF_A_LIFE) == []


class Looked:
    """Checks of a subtask that Datahub itself has cancelled, with events as a test says."""

    def __init__(self, place: Path, store: Store, inputs: Inputs) -> None:
        self.found = Findings()
        self.service = Service(place, "http://127.0.0.1:9", (), 9)
        self.service.log.touch()
        marks = Marks(place / "marks")
        self.checks = Checks(self.found, store, inputs, marks, self.service)
        self.checks.expected["s"] = Expected("copy", 0, frozenset({TaskStatus.CANCELLED}), "Works")
        self._store = store
        store.create_subtask("s", assignment=Assignment("Works", self.service.url))

    def ended(self, *events: tuple[str, dict[str, Any]]) -> list[str]:
        self._store.set_status("s", TaskStatus.CANCELLED)
        for kind, detail in events:
            self._store.add_event("s", kind, detail)
        self.checks.ended("s")
        return self.found.wrong


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return Inputs(tmp_path_factory.mktemp("inputs"), random.Random(1))


@pytest.fixture
def looked(tmp_path: Path, inputs: Inputs) -> Iterator[Looked]:
    with closing(Store(tmp_path / "datahub")) as store:
        yield Looked(tmp_path, store, inputs)


CANCELLED: tuple[str, dict[str, Any]] = ("status", {"status": 4})
RUNNING: tuple[str, dict[str, Any]] = ("status", {"status": 1})


def test_one_end_is_right_however_often_it_is_told(looked: Looked) -> None:
    assert looked.ended(RUNNING, CANCELLED, ("heartbeat", {}), CANCELLED) == []
    looked.checks.again()
    assert looked.found.wrong == []
    assert looked.found.done["identical repeats of an end"] == 1


def test_another_end_is_told(looked: Looked) -> None:
    (line,) = looked.ended(CANCELLED, ("status", {"status": 5}))
    assert line.startswith("different: s ended [")


def test_a_status_after_the_end_is_told(looked: Looked) -> None:
    assert looked.ended(CANCELLED, RUNNING) == ["different: s had another status after its end"]


def test_an_end_that_is_repeated_long_after_is_right(looked: Looked) -> None:
    assert looked.ended(CANCELLED) == []
    looked._store.add_event("s", *CANCELLED)
    looked.checks.again()
    assert looked.found.wrong == []
    assert looked.found.done["identical repeats of an end"] == 1


def test_another_end_long_after_is_told(looked: Looked) -> None:
    assert looked.ended(CANCELLED) == []
    looked._store.add_event("s", "result", {})
    looked.checks.again()
    assert looked.found.wrong == ["different: s ended [{'status': 4}, {}]"]


def test_what_datahub_has_ended_may_be_refused_its_end(looked: Looked) -> None:
    assert looked.ended() == []
    with pytest.raises(Refused, match="already completed"):
        report(looked._store, "s", TaskStatus.CANCELLED)
    looked.checks.again()
    assert looked.found.wrong == []


def test_an_end_that_was_not_expected_is_told(looked: Looked) -> None:
    looked.checks.expected["s"].ends = frozenset({TaskStatus.COMPLETED})
    assert looked.ended(CANCELLED) == ["different: s ended CANCELLED: []"]


def test_what_is_lost_is_told(looked: Looked) -> None:
    looked.checks.lost("s")
    assert looked.found.wrong == ["lost: s is INITIAL, waiting, asked for None: []"]


def test_what_is_left_behind_is_told(looked: Looked) -> None:
    restore(FORMATS[-1], looked.service.state / JOURNAL)
    with subprocess.Popen(["sleep", "60"]) as process:
        (looked.service.state.parent / "marks").write_text(f"s {identity(process.pid)}\n")
        looked.checks._marks.read()
        looked.checks.what_is_left()
        process.kill()
    assert [line.partition(":")[0] for line in looked.found.wrong] == [
        *("lost", "lost", "lost", "processes outlived their service")
    ]
