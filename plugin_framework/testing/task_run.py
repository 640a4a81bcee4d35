"""One run of a plugin in a test: what Datahub saw of it, and how to steer it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from plugin_framework.emulator.rules import Refused
from plugin_framework.emulator.store import Store
from plugin_framework.engines.local import LocalEngine
from plugin_framework.isolation.freeze import freeze
from plugin_framework.lifecycle.clock import REAL
from plugin_framework.lifecycle.outcome import TaskOutcome
from plugin_framework.plugin.base import DatahubPlugin
from plugin_framework.plugin.hookspecs import hookimpl
from plugin_framework.plugin.loader import ExtensionRef
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.settings import Settings
from plugin_framework.testing.clock import Clock
from plugin_framework.testing.local import inside
from plugin_framework.testing.records import LogLine, Records
from plugin_framework.testing.stops import Course, Kind, Place, RemoteStops, Stops, StopsOf
from plugin_framework.testing.web import Request, Web

LONGEST_SHOWN = 200
"""Characters of a result or an error that a ``repr`` shows."""

END_SECONDS = 5.0
"""How long a run may take to end once it was told to."""


@dataclass(frozen=True, slots=True)
class Output:
    """A file that the plugin has stored: ``path`` is a file of its name, ``size`` is in bytes."""

    name: str
    path: Path
    size: int

    def bytes(self) -> bytes:
        """The content."""
        return self.path.read_bytes()

    def text(self, encoding: str = "utf-8") -> str:
        """The content, as text."""
        return self.path.read_text(encoding)

    @property
    def sha256(self) -> str:
        """The content's digest, in hex."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


class Outputs(dict[str, Output]):
    """Files by name; asked for another one, it says which there are."""

    def __missing__(self, name: str) -> Output:
        raise KeyError(f"no output {name}; there is {', '.join(self) or 'none'}")


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Hub:
    """The Datahub that runs belong to, as long as somebody knows one of them."""

    store: Store
    web: Web
    clock: Clock | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run, and where: all that another attempt needs too. ``folder`` is its own."""

    plugin: type[DatahubPlugin] | str
    subtask_id: str
    config: Mapping[str, Any]
    isolation: Literal["thread", "process"]
    settings: Settings
    extensions: tuple[object, ...]
    folder: Path
    timeout: float


class TaskRun:
    """An attempt at a subtask that runs, or has ended. Every method may be called from any thread.

    What it shows is of this attempt alone, but for ``outputs``: those are the subtask's. A
    checkpoint is named as in ``ctx.checkpoint("after-header")``, or by its number among those that
    ``process`` comes to, from 1: each ``ctx.checkpoint()``, and each item of ``ctx.track()``.
    """

    def __init__(self, hub: Hub, plan: Plan, orders: Mapping[Kind, Place | None]) -> None:
        self._hub = hub
        self._plan = plan
        self._store = hub.store
        before = self._store.events(plan.subtask_id)
        self._first_event = max((event.number for event in before), default=0)
        self._requests, self._first_request = hub.web.requests, len(hub.web.requests)
        self._outcome: TaskOutcome | None = None
        self._failure: BaseException | None = None
        self._killed = False
        self._changed = threading.Condition()
        self._ended = False
        self._records = Records(plan.subtask_id)
        self._course = Course()
        self._stops: Stops | StopsOf
        stops: Stops | ExtensionRef
        if plan.isolation == "thread":
            if orders.get("kill") is not None:
                raise ValueError(_NO_KILL)
            self._stops = stops = Stops(self._met, self._course.reached)
        else:
            address = plan.folder / f"stops-{time.monotonic_ns()}"
            self._stops = StopsOf(address, self._met, self._course.reached)
            stops = ExtensionRef(
                RemoteStops.__module__, RemoteStops.__qualname__, arguments=[str(address)]
            )
        for kind, place in orders.items():
            if place is not None:
                self._order(kind, place)
        self._engine = self._made_engine(stops)
        self._run = self._engine.run(plan.subtask_id, config=plan.config)
        self._thread = threading.Thread(target=self._execute, daemon=True, name="run")
        self._thread.start()

    def _made_engine(self, stops: Stops | ExtensionRef) -> LocalEngine:
        plan, clock = self._plan, self._hub.clock
        own = {f"test-{number}": each for number, each in enumerate(plan.extensions, 1)}
        try:
            return LocalEngine(
                plan.plugin,
                plan.settings,
                extensions={"test-stops": stops, **own},
                observers={"test-run": _Watcher(self._notice)},
                clock=clock or REAL,
                ticker=clock.ticker() if clock else None,
            )
        except BaseException:
            self._close_stops()
            raise

    def __repr__(self) -> str:
        if self._failure is not None:
            return f"<TaskRun not run: {_shown(str(self._failure))}>"
        facts = [self.status.name.lower()]
        if self._killed:
            facts.append("killed")
        if self.error is not None:
            # Its address is another one each time.
            told = self.error.replace(f" at {urlsplit(self._hub.web.url).netloc}", "")
            return f"<TaskRun {', '.join(facts)}: {_shown(told)}>"
        parts = []
        if outputs := len(self._store.outputs(self._plan.subtask_id)):
            parts.append(f"{outputs} output{'s' * (outputs > 1)}")
        if self.result is not None:
            parts.append(f"result {_shown(repr(self.result))}")
        return f"<TaskRun {', '.join(facts)}{': ' * bool(parts)}{', '.join(parts)}>"

    # What Datahub saw

    @property
    def status(self) -> TaskStatus:
        """What Datahub has it as."""
        return self._store.subtask(self._plan.subtask_id).status

    @property
    def statuses(self) -> list[TaskStatus]:
        """All that Datahub accepted, in order; one that was sent twice in a row counts once."""
        found: list[TaskStatus] = []
        for event in self._events("status", "result"):
            status = (
                TaskStatus.COMPLETED
                if event.kind == "result"
                else TaskStatus(event.detail["status"])
            )
            if found[-1:] != [status]:
                found.append(status)
        return found

    @property
    def heartbeats(self) -> list[int]:
        """The percents of the heartbeats that Datahub accepted; the newest 60 of one that ended."""
        return [event.detail["process"] for event in self._events("heartbeat")]

    @property
    def result(self) -> dict[str, Any] | None:
        """The result that Datahub has."""
        return self._store.subtask(self._plan.subtask_id).result

    @property
    def outputs(self) -> dict[str, Output]:
        """The files that were stored, by name; asked for another, it says which there are."""
        folder = self._plan.folder / "outputs"
        return Outputs(
            (each.name, Output(each.name, _linked(each.path, folder, each.name), each.size))
            for each in self._store.outputs(self._plan.subtask_id)
        )

    @property
    def requests(self) -> list[Request]:
        """The calls of Datahub's API that were made for it, in order."""
        mine = self._requests[self._first_request :]
        return [one for one in mine if one.subtask_id == self._plan.subtask_id]

    @property
    def logs(self) -> list[LogLine]:
        """What the plugin logged; in a process of its own, also what it printed.

        What is printed in a thread is the test's own output, and pytest's ``capsys`` has it.
        """
        return list(self._records.lines)

    @property
    def subtask_id(self) -> str:
        """Its id at Datahub."""
        return self._plan.subtask_id

    # How it ended

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self._ended

    @property
    def outcome(self) -> TaskOutcome | None:
        """How it ended, as ``datahub-plugin run`` has it; None while it runs."""
        return self._outcome

    @property
    def error(self) -> str | None:
        """Why it failed, in one line; None unless it has."""
        return None if self._outcome is None or self._killed else self._outcome.error

    @property
    def attempt(self) -> int:
        """Which attempt at the subtask it is, from 1; 0 until it has ended."""
        return 0 if self._outcome is None else self._outcome.attempt

    def wait(self, timeout: float | None = None) -> TaskRun:
        """Wait for its end, and return it.

        Raises:
            AssertionError: it ended by itself, and was to be cancelled or killed at a checkpoint
                that it did not come to.
            TimeoutError: it has not ended after so many seconds; else after the ``timeout`` that it
                was started with.
            ConfigurationError, DatahubError: nothing was run, as ``run_task`` says.
        """
        self._until(lambda: self._ended, "end", timeout)
        if self._failure is not None:
            raise self._failure
        missed = self._course.missed()
        if missed and not self._killed and self.status is not TaskStatus.CANCELLED:
            raise AssertionError(f"the run ended, and did not {missed} ({self._course}): {self!r}")
        return self

    async def wait_async(self, timeout: float | None = None) -> TaskRun:  # noqa: ASYNC109 - as wait
        """The same for coroutines, whose loop goes on meanwhile."""
        return await asyncio.to_thread(self.wait, timeout)

    # Steering

    def pause(self, at: Place | None = None) -> None:
        """Have Datahub ask for a pause, and wait until it has taken hold.

        With ``at``, the order arrives when the run next comes to that checkpoint, and the run does
        not go on from there without it. One that is paused already goes on until then.

        Raises:
            AssertionError: it ended without that.
            ValueError: it is past that checkpoint.
            TimeoutError: it has not come to a checkpoint in time.
        """
        paused = self.status is TaskStatus.PAUSED
        seen = len(self.statuses)
        if at is not None or not paused:
            self._order("pause", at)
            if paused:
                self.resume()
            self.await_pause(at, seen)

    def await_pause(self, at: Place | None, seen: int = 0) -> None:
        """Wait until Datahub has it as paused, after so many other statuses."""
        self._until(lambda: self._ended or TaskStatus.PAUSED in self.statuses[seen:], "pause")
        if TaskStatus.PAUSED not in self.statuses[seen:]:
            place = "" if at is None else f" at the checkpoint {at!r}"
            raise AssertionError(
                f"the run ended, and did not pause{place} ({self._course}): {self!r}"
            )

    def resume(self) -> None:
        """Have Datahub ask to go on, and wait until the run does.

        Raises:
            ValueError: it is not paused.
        """
        if self.status is not TaskStatus.PAUSED:
            raise ValueError(f"it is not paused: {self!r}")
        seen = len(self.statuses)
        self._ask(TaskStatus.RUNNING)
        self._stops.release()
        self._until(lambda: self._ended or len(self.statuses) > seen, "go on")

    def cancel(self, at: Place | None = None) -> None:
        """Have Datahub cancel it; ``wait`` is for its end. ``at`` as of ``pause``.

        Raises:
            ValueError: it is past that checkpoint.
        """
        self._order("cancel", at)

    def kill(self, at: Place | None = None) -> None:
        """End the plugin's process by SIGKILL, and the run with it, as if the machine had crashed.

        Nothing is reported: ``rerun`` goes on with what was kept. ``at`` as of ``pause``; without
        one it has ended when this returns.

        Raises:
            ValueError: the plugin has no process of its own, or is past that checkpoint.
        """
        if isinstance(self._stops, Stops):
            raise ValueError(_NO_KILL)  # noqa: TRY004 - of what it was started with
        self._order("kill", at)
        if at is None:
            self._until(lambda: self._ended, "end")

    def rerun(
        self,
        *,
        pause_at: Place | None = None,
        cancel_at: Place | None = None,
        kill_at: Place | None = None,
    ) -> TaskRun:
        """Start another attempt at the subtask, with what this one has kept.

        Raises:
            ValueError: this one still runs, or Datahub has the subtask as ended.
        """
        if not self._ended or self.status.is_final:
            raise ValueError(f"only what was killed can be run again ({self._course}): {self!r}")
        orders: dict[Kind, Place | None] = {"pause": pause_at, "cancel": cancel_at, "kill": kill_at}
        run = TaskRun(self._hub, self._plan, orders)
        if pause_at is not None:
            run.await_pause(pause_at)
        return run

    def stop(self) -> None:
        """End it at once, whatever state it is in; a thread that goes on is left behind."""
        if not self._ended:
            self._stops.release()
            self._killed = True
            self._run.shutdown(signal.SIGTERM)
            self._run.shutdown(signal.SIGTERM)
            if self._hub.clock is not None:
                self._hub.clock.advance(END_SECONDS)
            self._thread.join(END_SECONDS)

    # Inside

    def _execute(self) -> None:
        with self._records:
            try:
                self._outcome = self._run.execute()
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                self._failure = error
            finally:
                self._engine.close()
                self._close_stops()
        self._ended = True
        self._notice()

    def _close_stops(self) -> None:
        if isinstance(self._stops, StopsOf):
            self._stops.close()

    def _notice(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _until(self, done: Callable[[], bool], what: str, timeout: float | None = None) -> None:
        seconds = self._plan.timeout if timeout is None else timeout
        with self._changed:
            if not self._changed.wait_for(done, seconds):
                raise TimeoutError(f"the run did not {what} within {seconds:g} s: {self!r}")

    def _events(self, *kinds: str) -> list[Any]:
        events = self._store.events(self._plan.subtask_id, self._first_event)
        return [event for event in events if event.kind in kinds and event.accepted]

    def _order(self, kind: Kind, at: Place | None) -> None:
        if at is None:
            self._give(kind)
            return
        self._course.open[at] = kind
        if not self._stops.order(kind, at):
            del self._course.open[at]
            raise ValueError(f"it is past the checkpoint {at!r}, or has ended: {self!r}")

    def _met(self, kind: Kind, place: Place) -> None:
        """Do what was ordered for the place that it is held at."""
        self._course.open.pop(place, None)
        self._give(kind)

    def _give(self, kind: Kind) -> None:
        """Do now what was ordered."""
        if kind == "kill":
            threading.Thread(target=self._kill, daemon=True, name="kill").start()
        else:
            self._ask(TaskStatus.PAUSED if kind == "pause" else TaskStatus.CANCELLED)

    def _ask(self, status: TaskStatus) -> None:
        """Ask as an operator does, and tell the run as manage_task does: it need not poll."""
        with suppress(Refused):  # it has just ended
            self._store.set_status(self._plan.subtask_id, status)
            act = {
                TaskStatus.PAUSED: self._run.pause,
                TaskStatus.RUNNING: self._run.resume,
                TaskStatus.CANCELLED: self._run.cancel,
            }
            act[status]()

    def _kill(self) -> None:
        assert isinstance(self._stops, StopsOf)
        pid = self._stops.await_pid(self._plan.timeout)
        if pid is None or self._ended:
            return
        freeze(pid)  # it sees nothing of how the run is made to end
        self._killed = True
        self._run.shutdown(signal.SIGTERM)
        self._run.shutdown(signal.SIGTERM)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


_NO_KILL = "a thread cannot be killed: run it with isolation='process'"


class _Watcher:
    """Hears of every report that Datahub has acknowledged."""

    def __init__(self, notice: Callable[[], None]) -> None:
        self._notice = notice

    @hookimpl
    def datahub_report_delivered(self) -> None:
        """Have those look who wait for a status."""
        self._notice()


def _shown(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _linked(stored: Path, folder: Path, name: str) -> Path:
    """A stored file by its own name, for readers that go by it."""
    target = folder / inside(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(stored, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(stored, target)
    return target
