"""The simulation keeps what the documentation says of it, and its times are those of the code."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from benchmarks import scaling_pictures, simulation
from benchmarks.simulation import OUTAGE, Fleet, Numbers, at_any_time, at_once, flatness, load
from plugin_framework.lifecycle.heartbeat import EARLIEST_SHARE, MonotonicZone, _Every
from plugin_framework.lifecycle.polling import Polls
from plugin_framework.protocol.models import TaskStatus

SMALL = 20_000
EPOCH = datetime.fromtimestamp(0, UTC).replace(tzinfo=MonotonicZone())


@pytest.mark.parametrize("each", [1, 20, 200])
def test_the_load_is_flat(each: int) -> None:
    fleet = Fleet(SMALL * 10, each)
    beats, polls = load(fleet, at_any_time(fleet), 120)
    assert (beats + polls).mean() == pytest.approx(fleet.mean, rel=0.02)
    assert flatness(beats + polls) < 1.1


def test_what_began_together_is_spread_over_the_interval() -> None:
    fleet = Fleet(SMALL * 10)
    beats, polls = load(fleet, at_once(fleet), 120)
    assert beats[0] == fleet.subtasks
    assert flatness(beats[60:]) < 1.2
    assert flatness((beats + polls)[60:]) < 1.2
    halved, _ = load(fleet, at_once(fleet), 120, earliest=0.5)
    assert flatness(halved[60:]) > 1.9, "which is why the share is drawn from the whole"


@pytest.mark.parametrize(("asked", "late"), [("none", 30), ("the date of the recovery", 31)])
def test_reports_return_spread_over_half_a_minute(asked: str, late: float) -> None:
    found = simulation.reports(SMALL, asked)
    back = found.sent[OUTAGE : OUTAGE + 30]
    assert found.calls.max() <= 60
    assert found.late.max() <= late
    assert flatness(back) < 2.5
    assert back.max() < 1.5 * len(found.late) / 22.5


def test_two_minutes_are_waited_when_datahub_asks_for_them() -> None:
    found = simulation.reports(SMALL, "120 seconds")
    assert found.calls.max() <= 1 + OUTAGE / 120 + 1
    assert 120 < found.late.max() <= 151


def test_services_that_start_again_make_one_call_at_a_time() -> None:
    calls = simulation.redelivered(Fleet(SMALL, each=200), 60)
    assert calls.max() <= SMALL / 200 / simulation.LATENCY


class ByHand:
    """Makes periodic calls at the times of the real trigger, by a clock that is simulated."""

    def __init__(self, boot: float) -> None:
        self.now = boot
        self._due: list[tuple[float, int, _Every, Callable[[], object]]] = []

    def start(self, seconds: Callable[[], float], call: Callable[[], object]) -> Any:
        trigger = _Every(seconds)
        first = trigger.get_next_fire_time(None, EPOCH + timedelta(seconds=self.now))
        heapq.heappush(self._due, (_seconds(first), len(self._due), trigger, call))

    def run(self, until: float) -> None:
        while self._due[0][0] < until:
            self.now, number, trigger, call = heapq.heappop(self._due)
            call()
            at = EPOCH + timedelta(seconds=self.now)
            following = trigger.get_next_fire_time(at, at)
            heapq.heappush(self._due, (_seconds(following), number, trigger, call))


def _seconds(moment: datetime) -> float:
    return (moment - EPOCH) / timedelta(seconds=1)


def real_times(fleet: Fleet, what: str, until: float) -> Numbers:
    """When calls are made after the start of all, by the framework's own code."""
    found: list[float] = []
    for number in range(fleet.supervisors):
        boot = 1000 * number + number / 7
        ticker = ByHand(boot)

        class Client:
            def notify(self, *_: object, **__: object) -> TaskStatus:
                found.append(ticker.now - boot)  # noqa: B023 - made and used in this turn
                return TaskStatus.RUNNING

        client = Client()
        polls = Polls(cast("Any", client), cast("Any", ticker), fleet.poll)
        for task in range(fleet.each):
            if what == "polls":
                polls.watch(f"task-{task}", lambda _at, _answer: None)
            else:
                ticker.start(lambda: fleet.heartbeat, client.notify)
        ticker.run(boot + until)
    return np.array(found)


@pytest.mark.parametrize(
    ("fleet", "what"),
    [(Fleet(2000, 1), "beats"), (Fleet(2000, 1), "polls"), (Fleet(2000, 100), "polls")],
    ids=["beats", "polls", "many polls"],
)
def test_the_times_are_those_of_the_scheduler(fleet: Fleet, what: str) -> None:
    until = 100.0
    seconds = fleet.heartbeat if what == "beats" else fleet.poll_interval
    starts = np.zeros(fleet.subtasks)
    rounds = simulation.periodic(fleet, seconds, starts, until, earliest=EARLIEST_SHARE)
    modelled = np.concatenate(list(rounds))
    modelled = np.sort(modelled[modelled < until])
    real = np.sort(real_times(fleet, what, until))
    assert len(real) == pytest.approx(len(modelled), rel=0.02)
    places = np.linspace(0.01, until, 500)  # the first calls are all at 0, give or take a rounding
    shares = [np.searchsorted(times, places) / len(times) for times in (real, modelled)]
    assert np.abs(shares[0] - shares[1]).max() < 0.03


def test_the_pictures_are_the_same_each_time(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        scaling_pictures.draw(tmp_path / folder, 2000)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == [f"scaling-{name}.svg" for name in ("outage", "retry-after", "start")]
    for name in names:
        drawn = (tmp_path / "one" / name).read_bytes()
        assert drawn == (tmp_path / "other" / name).read_bytes()
        assert b"<dc:date>" not in drawn
        assert b'<svg role="img"' in drawn
        assert b"<title>" in drawn
