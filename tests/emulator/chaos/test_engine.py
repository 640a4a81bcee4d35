"""Which requests are hit, and when: no server, and a clock that the test moves."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from typing import Any

from plugin_framework.emulator.chaos import Chaos, Target
from plugin_framework.emulator.chaos.target import INCOMING

BEAT = Target("heartbeat", "POST", "s-1")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def chaos(*rules: dict[str, Any], seed: int = 0) -> Chaos:
    return Chaos.from_json({"seed": seed, "rules": list(rules)})


def hits(engine: Chaos, target: Target, count: int) -> list[int]:
    """Which of so many such requests are hit, counted from 1."""
    return [number for number in range(1, count + 1) if engine.decide(target)]


def test_count_skip_and_every() -> None:
    assert hits(chaos({"fault": "reset", "count": 2}), BEAT, 9) == [1, 2]
    assert hits(chaos({"fault": "reset", "skip": 3}), BEAT, 6) == [4, 5, 6]
    assert hits(chaos({"fault": "reset", "every": 3}), BEAT, 9) == [3, 6, 9]
    rule = {"fault": "reset", "skip": 1, "every": 2, "count": 2}
    assert hits(chaos(rule), BEAT, 9) == [3, 5]


def test_each_counts_by_itself() -> None:
    engine = chaos({"fault": "reset", "call": "put", "each": "part", "count": 1})
    parts = [Target("put", "PUT", "s", "a.bin", "key", number) for number in (1, 2)]
    other = Target("put", "PUT", "s", "b.bin", "key-2", 1)
    again = Target("put", "PUT", "s", "a.bin", "key-3", 1)  # the same file under another upload
    hit = [bool(engine.decide(target)) for target in (*parts, *parts, other, again)]
    assert hit == [True, True, False, False, True, False]
    engine = chaos({"fault": "reset", "each": "subtask", "count": 1})
    assert hits(engine, BEAT, 2) == [1]
    assert hits(engine, Target("result", "POST", "s-1"), 1) == []
    assert hits(engine, Target("result", "POST", "s-2"), 2) == [1]


def matching(rule: dict[str, Any], targets: Sequence[Target]) -> list[Target]:
    engine = chaos({"fault": "delay", "seconds": 0, **rule})
    return [target for target in targets if engine.decide(target)]


def test_what_rules_are_for() -> None:
    put = Target("put", "PUT", "s-1", "report-1.csv", "abc", 2)
    get = Target("get", "GET", "s-2", "input.csv", "def")
    create = Target("create_task", "POST", "s-1")
    everything = [BEAT, put, get, create]
    assert matching({}, everything) == [BEAT, put, get]
    assert matching({"call": "service"}, everything) == [create]
    assert matching({"call": ["storage", "create_task"]}, everything) == [put, get, create]
    assert matching({"method": "POST"}, everything) == [BEAT]
    assert matching({"subtask": "s-?"}, everything) == [BEAT, put, get]
    assert matching({"subtask": "s-1"}, everything) == [BEAT, put]
    assert matching({"object": "*.csv"}, everything) == [put, get]
    assert matching({"object": "d*"}, everything) == [get]
    assert matching({"part": 2}, everything) == [put]
    assert matching({"part": [1, 3]}, everything) == []
    assert matching({"subtask": "*"}, [Target("put", "PUT")]) == []


def test_the_calls_that_are_meant_where_none_is_named() -> None:
    storage = {"get", "put"}
    for fault, calls in {
        "outage": set(INCOMING),
        "code": set(INCOMING) - storage,
        "expire": storage,
        "ignore_range": {"get"},
        "drop": {"create_task", "manage_task"},
    }.items():
        (rule,) = Chaos.from_json(
            {"rules": [{"fault": fault, **({"code": 1} if fault == "code" else {})}]}
        ).rules
        assert rule.calls == calls


def test_times() -> None:
    clock = Clock()
    engine = Chaos(clock=clock)
    clock.now += 5
    windows: dict[str, dict[str, Any]] = {
        "window": {"from": 10, "until": 20},
        "again": {"from": 1, "until": 2, "repeat": 10},
        "start": {"from": 10, "clock": "start"},
    }
    rules = [{"fault": "wrong_etag", "name": name, **when} for name, when in windows.items()]
    engine.set({"rules": rules})
    set_at, found = clock.now, {}
    for seconds in (0, 1, 2, 5, 9.9, 10, 11.5, 19.9, 20, 21.5):
        clock.now = set_at + seconds
        found[seconds] = [hit.rule.name for hit in engine.decide(Target("get", "GET"))]
    assert [at for at, names in found.items() if "window" in names] == [10, 11.5, 19.9]
    assert [at for at, names in found.items() if "again" in names] == [1, 11.5, 21.5]
    assert [at for at, names in found.items() if "start" not in names] == [0, 1, 2]


def test_probability_is_the_same_at_every_run_whatever_others_do() -> None:
    rule = {"fault": "reset", "call": "heartbeat", "name": "a", "probability": 0.3}
    other = {"fault": "delay", "seconds": 0, "name": "b", "probability": 0.5}
    alone = hits(chaos(rule, seed=7), BEAT, 400)
    assert 80 < len(alone) < 160
    assert alone == hits(chaos(rule, seed=7), BEAT, 400)
    assert alone != hits(chaos(rule, seed=8), BEAT, 400)
    engine, dice, found = chaos(other, rule, seed=7), random.Random(1), []
    for number in range(1, 401):
        for _ in range(dice.randrange(3)):
            engine.decide(Target("result", "POST", "s-2"))
        if any(hit.rule.name == "a" for hit in engine.decide(BEAT)):
            found.append(number)
    assert found == alone


def test_the_first_that_ends_a_request_does_and_what_changes_it_comes_before() -> None:
    engine = chaos(
        {"fault": "delay", "name": "slow", "seconds": 0},
        {"fault": "reset", "name": "first", "count": 1},
        {"fault": "delay", "name": "late", "seconds": 0},
        {"fault": "hang", "name": "second", "count": 1},
    )
    found = [[hit.rule.name for hit in engine.decide(BEAT)] for _ in range(3)]
    assert found == [["slow", "first"], ["slow", "late", "second"], ["slow", "late"]]
    counters = {one["name"]: one["injected"] for one in engine.as_json()["counters"]}
    assert counters == {"slow": 3, "first": 1, "late": 2, "second": 1}


def test_rules_are_replaced_as_a_whole_or_kept_as_they_were() -> None:
    once = {"fault": "reset", "name": "once", "count": 1}
    more = {"fault": "delay", "name": "more", "seconds": 0, "call": "get"}
    engine = chaos(once)
    assert hits(engine, BEAT, 2) == [1]
    engine.set({"rules": [once, more]}, keep=True)
    assert hits(engine, BEAT, 2) == []
    engine.set({"rules": [{**once, "count": 2}, more]}, keep=True)
    assert hits(engine, BEAT, 3) == [1, 2]
    engine.set({"rules": [once]})
    assert hits(engine, BEAT, 2) == [1]
    engine.clear()
    assert not engine.active
    assert not engine.concerns("heartbeat")
    assert hits(engine, BEAT, 2) == []


def test_what_is_in_force_can_be_handed_on() -> None:
    engine = chaos({"fault": "slow_down", "part": 1}, {"fault": "expire", "from": 3}, seed=4)
    engine.decide(Target("put", "PUT", part=1))
    said = engine.as_json()
    assert said["counters"] == [
        {"name": "slow_down-1", "matched": 1, "injected": 1, "holds": True},
        {"name": "expire-2", "matched": 0, "injected": 0, "holds": False},
    ]
    again = Chaos.from_json(said).as_json()
    assert {**again, "counters": []} == {**said, "counters": []}
    assert Chaos().as_json() == Chaos.from_json({}).as_json()


def test_many_threads_while_rules_change() -> None:
    limited = {"fault": "reset", "count": 50}
    engine, found = chaos(limited), list[int]()

    def ask() -> None:
        found.extend(hits(engine, BEAT, 200))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        engine.set({"rules": [limited]}, keep=True)
    for thread in threads:
        thread.join()
    assert len(found) == 50
