"""The soak, short: it keeps its promises, and finds what was planted."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.soak import Plan, run
from benchmarks.soaking.samples import MIB, OF_A_LIFE, OF_THE_RUN, Sample, lives_of, trends
from benchmarks.soaking.work import KINDS

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
