"""Any order of pauses, cancels, endings, outages, lost answers, crashes and restarts.

However they fall, a subtask ends once, and nothing follows. ``SCHEDULES`` sets how many orders are
tried (2,000 for a thorough search); the search is the same each time.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as search

from plugin_framework.isolation.session import Ending
from plugin_framework.journal.journal import Journal
from plugin_framework.lifecycle import runner
from plugin_framework.lifecycle.folders import folder_name
from plugin_framework.lifecycle.heartbeat import Tick
from plugin_framework.lifecycle.polling import Polls
from plugin_framework.lifecycle.supervisor import Supervisor, Task
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.settings import load_settings
from tests.faults.scheduled import WEATHER, Crash, Datahub, Parked, SteppedReporter, Still
from tests.strict_rules import TERMINAL

SUBTASK = "s"
TEMPLATE = Path(tempfile.gettempdir()) / f"schedules-{os.getpid()}" / "journal.sqlite3"
SETTINGS = load_settings(
    base_url="http://127.0.0.1:9", grace_seconds=0, heartbeat_seconds=1, poll_seconds=1
)
running = precondition(lambda machine: machine.run is not None)
working = precondition(lambda machine: machine.run is not None and not machine.ended)


class Schedule(RuleBasedStateMachine):
    """One subtask, and all that may happen to it. Only one thread is ever awake."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="schedule-"))
        shutil.copy(TEMPLATE, self.folder)
        self.hub = Datahub(self._die)
        self.run: runner.Run | None = None
        self.outcome: Any = None
        self.ended = False
        self.held = False
        self.crashed = False
        self.ran_after_the_end = False
        self.happened: queue.SimpleQueue[str] = queue.SimpleQueue()

    # The supervisor's process

    @precondition(lambda machine: machine.run is None)
    @rule(
        on_shutdown=st.sampled_from(["fail", "cancel", "pause", "leave"]),
        on_interrupted=st.sampled_from(["resume", "fail"]),
    )
    def start(self, **policies: str) -> None:
        chosen = SETTINGS.model_copy(update={"state_dir": self.folder, **policies})
        self.journal = Journal(self.folder / "journal.sqlite3")
        self.journal._db._connection.execute("PRAGMA synchronous = OFF")
        self.isolation = Parked(self.happened)
        still = cast("Any", Still())
        hub = cast("Any", self.hub)
        polls = Polls(hub, still, seconds=1)
        supervisor = Supervisor(chosen, hub, self.journal, still, still, polls, still)
        task = Task(SUBTASK, None, "p", {})
        self.run = runner.Run(supervisor, cast("Any", self.isolation), task)
        self.ended = self.held = self.crashed = False
        had_ended = self.journal.ending(SUBTASK) is not None
        self.thread = threading.Thread(target=self._execute, args=(self.run,))
        self.thread.start()
        if self._next() == "parked":
            self.ran_after_the_end |= had_ended

    @running
    @rule(code=st.sampled_from([0, -9]))
    def exit(self, code: int) -> None:
        """The plugin's process ends; so does the run, having delivered what it can."""
        self.isolation.exit(code, asked=self.now._watch._term_at < float("inf"))
        self._next()

    @running
    @rule()
    def crash(self) -> None:
        self._die()
        self.isolation.crash()
        self._next()

    # The plugin

    @working
    @rule()
    def checkpoint(self) -> None:
        def check() -> None:
            if self.now._decision.reason is not None:
                self._end(Ending("cancelled"))
            elif self.now.pausing != self.held:
                self.held = not self.held
                self.isolation.host.confirm(TaskStatus.PAUSED if self.held else TaskStatus.RUNNING)

        self._try(check)

    @working
    @rule(value=st.integers(0, 9))
    def finish(self, value: int) -> None:
        self._try(lambda: self._end(Ending("returned", {"value": value})))

    @working
    @rule()
    def fail(self) -> None:
        self._try(lambda: self._end(Ending("failed", error="it failed")))

    def _end(self, ending: Ending) -> None:
        self.ended = True
        self.isolation.host.ended(ending)

    # Whoever controls it

    @running
    @rule()
    def cancel(self) -> None:
        self._try(self.now.cancel)

    @running
    @rule()
    def signal(self) -> None:
        self._try(lambda: self.now.shutdown(signal.SIGTERM))

    @rule(status=st.sampled_from([1, 2, 4]))
    def ask(self, status: int) -> None:
        if self.hub.ending is None and self.hub.statuses:
            self.hub.asked = status if status != self.hub.reported else None

    @running
    @rule()
    def beat(self) -> None:
        for tick in self.now._control._ticks[:1]:
            self._try(cast("Tick", tick).run)

    @running
    @rule()
    def poll(self) -> None:
        self._try(lambda: self.now._sup.polls._ask(SUBTASK))

    @running
    @rule()
    def deliver(self) -> None:
        self._try(cast("SteppedReporter", self.now._reporter).deliver)

    # The network

    @rule(down=st.booleans())
    def outage(self, *, down: bool) -> None:
        self.hub.down = down

    @rule(weather=st.lists(st.sampled_from(WEATHER), min_size=1, max_size=4))
    def trouble(self, weather: list[str]) -> None:
        self.hub.weather.extend(weather)

    # What must hold

    @invariant()
    def nothing_is_out_of_order(self) -> None:
        assert self.hub.violations == []
        assert not self.ran_after_the_end
        assert [s for s in self.hub.statuses if s in TERMINAL] in ([], self.hub.statuses[-1:])

    def teardown(self) -> None:
        """In the end the weather clears, and the subtask is started until it has ended."""
        try:
            self.hub.weather.clear()
            self.hub.down, self.hub.asked = False, None
            for _ in range(6):
                if self.run is None:
                    self.start(on_shutdown="fail", on_interrupted="resume")
                self._come_to_an_end()
            self.nothing_is_out_of_order()
            assert self.hub.reported in TERMINAL
            self._the_journal_agrees()
        finally:
            shutil.rmtree(self.folder)

    def _come_to_an_end(self) -> None:
        if self.run is not None and not self.ended:
            self.checkpoint()
        if self.run is not None and not self.ended:
            self.finish(0)
        if self.run is not None:
            self.exit(0)

    def _the_journal_agrees(self) -> None:
        journal = Journal(self.folder / "journal.sqlite3")
        ending = journal.ending(SUBTASK)
        journal.close()
        assert ending is not None
        assert (ending.fate, ending.body) == ("delivered", self.hub.ending)
        assert self.outcome.delivered
        assert self.outcome.status == self.hub.reported

    # The machinery

    @property
    def now(self) -> runner.Run:
        assert self.run is not None
        return self.run

    def _execute(self, run: runner.Run) -> None:
        self.outcome = None
        try:
            self.outcome = run.execute()
        except BaseException as error:  # noqa: BLE001 - the test sees what came of it
            self.error = error
        self.happened.put("ended")

    def _next(self) -> str:
        """Wait until the run waits for the plugin, or has ended."""
        what = self.happened.get(timeout=30)
        if what == "ended":
            self.thread.join()
            self.run = None
            self.journal.close()
            if self.crashed:
                lock = self.folder / "locks" / f"{folder_name(SUBTASK)}.lock"
                lock.write_text("a process that was killed")
        return what

    def _die(self) -> None:
        """From here on nothing is written: the process is dead."""
        self.crashed = True
        self.journal.close()

    def _try(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Crash:
            self.isolation.crash()
            self._next()


@pytest.fixture(autouse=True)
def stepped(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(runner, "Reporter", SteppedReporter)
    Journal(TEMPLATE).close()
    yield
    shutil.rmtree(TEMPLATE.parent)


def test_a_subtask_ends_once_whatever_happens() -> None:
    search(
        Schedule,
        settings=settings(
            max_examples=int(os.environ.get("SCHEDULES", "80")),
            stateful_step_count=30,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_lost_cancel_is_not_taken_for_the_one_that_was_asked_for() -> None:
    """Notify says 4 since it was asked for: that does not say that ours arrived."""
    schedule = Schedule()
    schedule.start(on_shutdown="cancel", on_interrupted="resume")
    schedule.ask(4)
    schedule.signal()
    schedule.checkpoint()
    schedule.trouble(["lost request"])
    schedule.deliver()
    assert schedule.hub.statuses == [1, 4]
    schedule.exit(0)
    schedule.teardown()


def test_an_ending_that_datahub_has_is_not_sent_again_by_the_next_start() -> None:
    schedule = Schedule()
    schedule.start(on_shutdown="fail", on_interrupted="resume")
    schedule.finish(1)
    schedule.trouble(["crash after"])
    schedule.deliver()
    schedule.start(on_shutdown="fail", on_interrupted="resume")
    assert schedule.outcome.delivered
    assert schedule.hub.repeats == 0
    schedule.teardown()
