"""Where the plugin is tried: a local Datahub, a supervisor, and a probe in the plugin's process."""

from __future__ import annotations

import itertools
import logging
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from plugin_framework.emulator.server import Emulator
from plugin_framework.emulator.subtasks import Event
from plugin_framework.engines.local import LocalEngine
from plugin_framework.lifecycle.folders import work_dir_of
from plugin_framework.lifecycle.outcome import TaskOutcome
from plugin_framework.lifecycle.runner import Run
from plugin_framework.plugin.base import DatahubPlugin
from plugin_framework.testing.conformance import processes
from plugin_framework.testing.conformance.attempt import KEY, Place, start_attempt
from plugin_framework.testing.conformance.live import Live
from plugin_framework.testing.conformance.probe import MARK, ORDERS, at_home
from plugin_framework.testing.conformance.trial import Line, Trial

GRACE_SECONDS = 10.0
TRIAL_SECONDS = 60.0

_SAMPLE_SECONDS = 0.01
_STEP_SECONDS = 0.05
_END_SECONDS = 5.0
_ENTRY_POINTS = f"[datahub.extensions]\nconformance = {__package__}.probe:Probe\n"

_Meanwhile = Callable[[Live], None]


class Stage:
    """Runs a plugin as often as it takes; made once for all rules, and left in good order.

    ``grace`` is how long, in seconds, a task may take to end once it is cancelled; ``limit`` how
    long it may take at all. A stage ``beside`` another shares its Datahub, its folder and its
    ``grace``, and is left first.

    Raises:
        ConfigurationError: the plugin cannot be used.
    """

    def __init__(
        self,
        plugin: type[DatahubPlugin] | str,
        *,
        grace: float = GRACE_SECONDS,
        limit: float = TRIAL_SECONDS,
        beside: Stage | None = None,
    ) -> None:
        self._plugin = plugin
        self._beside = beside
        self.grace: float = grace if beside is None else beside.grace
        self.limit = limit
        self.canary: str = f"canary-{secrets.token_hex(12)}"
        # By its id a task's lines are known from those of all others.
        self._token = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._made = ExitStack()
        self.trials: list[Trial] = []
        self.plugin: type[DatahubPlugin]
        self.folder: Path
        self.engine: LocalEngine
        self._emulator: Emulator
        self._place: Place

    def __enter__(self) -> Self:
        with ExitStack() as made:
            other = self._beside
            if other is None:
                self._set_up(made)
            else:
                self.folder = other.folder
                self._emulator = other._emulator  # noqa: SLF001 - our own class
                self._place = other._place  # noqa: SLF001 - our own class
            engine = LocalEngine(
                self._plugin, self._place.settings(), beside=other.engine if other else None
            )
            self.engine = made.enter_context(engine)
            given = self._plugin
            self.plugin = given if isinstance(given, type) else engine.ref.load()
            self._made = made.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._made.close()

    def _set_up(self, made: ExitStack) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="datahub-", ignore_cleanup_errors=True)
        self.folder = Path(made.enter_context(temporary)).resolve()
        made.enter_context(_declared(self.folder / "probe"))
        secret = secrets.token_hex(32)
        datahub = Emulator(state_dir=self.folder / "datahub", key=KEY, secret=secret)
        self._emulator = made.enter_context(datahub)
        self._place = Place(datahub.url, secret, str(self.folder / "state"), self.grace)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What nobody may read in a log: of ours, and what the probe gave the plugin."""
        return self._place.secret, self.canary

    def run(
        self,
        source: Path,
        config: Mapping[str, Any],
        *,
        name: str | None = None,
        hold_at: int | None = None,
        meanwhile: _Meanwhile = lambda _live: None,
        measure: bool = False,
    ) -> Trial:
        """Run the plugin on a file, which Datahub calls ``name``.

        It is held at its checkpoint number ``hold_at`` (0: before ``process``). ``meanwhile`` may
        wait for that, and say what is to happen. ``measure`` watches its memory.
        """
        live = self._create(source, name, hold_at)
        run = self.engine.run(live.subtask_id, config=config)
        return self._observed(live, run, meanwhile, measure=measure)

    def run_in_a_thread(self, source: Path, config: Mapping[str, Any]) -> Trial:
        """Run it in a thread of this process, without a probe."""
        live = self._create(source, None, None)
        (live.folder / ORDERS).unlink()
        settings = self._place.settings("thread")
        with (
            at_home(live.folder),
            LocalEngine(self._plugin, settings, beside=self.engine) as engine,
        ):
            run = engine.run(live.subtask_id, config=config)
            return self._observed(live, run, lambda _live: None, measure=False)

    def run_killed(self, source: Path, config: Mapping[str, Any], *, at: int) -> Trial:
        """Kill the first attempt where it is held, and its supervisor; the trial is the second."""
        live = self._create(source, None, at)
        started = time.monotonic()
        supervisor = start_attempt(self.engine.ref, self._place, live.subtask_id, config)
        try:
            held = live.is_held(unless=lambda: supervisor.poll() is not None)
        finally:
            supervisor.kill()
            supervisor.wait()
        gone = live.is_gone()
        live.order(None)
        trial = self._observed(
            live,
            self.engine.run(live.subtask_id, config=config),
            lambda _live: None,
            measure=False,
        )
        trial.seen.update(held=held, gone=gone, seconds=time.monotonic() - started)
        return trial

    def _create(self, source: Path, name: str | None, hold_at: int | None) -> Live:
        subtask_id = f"conformance-{self._token}-{next(self._numbers):03}"
        self._emulator.store.create_subtask(subtask_id, input=source, file_name=name)
        work_dir = work_dir_of(Path(self._place.state_dir), subtask_id)
        live = Live(subtask_id, self._emulator.store, work_dir, name or source.name, self.canary)
        live.order(hold_at)
        return live

    def _observed(self, live: Live, run: Run, meanwhile: _Meanwhile, *, measure: bool) -> Trial:
        events: list[Event] = []
        peak = 0

        def look() -> None:
            nonlocal peak
            # Of many heartbeats only the newest are kept.
            seen = events[-1].number if events else 0
            events.extend(self._emulator.store.events(live.subtask_id, after=seen))
            if measure and live.pid:
                peak = max(peak, processes.own_memory(live.pid))

        started = time.monotonic()
        with _log_of(live.subtask_id) as lines:
            with _running(run) as future:
                meanwhile(live)
                step = _SAMPLE_SECONDS if measure else _STEP_SECONDS
                overdue = self._wait(future, run, look, step)
                outcome = future.result()
            look()
        trial = Trial(
            input=live.input,
            outcome=outcome,
            events=events,
            lines=lines,
            facts=live.facts,
            seconds=time.monotonic() - started,
            overdue=overdue,
            peak=peak,
            strays=[
                processes.command_of(pid) for pid in processes.with_variable(MARK, str(live.folder))
            ],
            left=live.left,
            seen=live.seen,
        )
        self.trials.append(trial)
        return trial

    def _wait(
        self, future: Future[TaskOutcome], run: Run, look: Callable[[], None], step: float
    ) -> bool:
        """Look at it until it ends; whether it had to be cancelled for taking too long."""
        deadline = time.monotonic() + self.limit
        while wait([future], timeout=step).not_done:
            look()
            if time.monotonic() > deadline:
                run.cancel()
                wait([future])
                return True
        return False


@contextmanager
def _running(run: Run) -> Iterator[Future[TaskOutcome]]:
    """Run it in a thread. Left by Ctrl-C, it ends at once: what it needs is about to be closed."""
    future: Future[TaskOutcome] = Future()

    def execute() -> None:
        try:
            future.set_result(run.execute())
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=execute, daemon=True, name="trial").start()
    try:
        yield future
    except BaseException:
        if not (future.done() or run.call_off()):
            run.shutdown(signal.SIGTERM)
            run.shutdown(signal.SIGTERM)
        wait([future], _END_SECONDS)
        raise


@contextmanager
def _declared(folder: Path) -> Iterator[None]:
    """Have processes that start meanwhile find the probe among the installed extensions."""
    declared = folder / "datahub_conformance_probe-1.dist-info"
    declared.mkdir(parents=True)
    metadata = "Metadata-Version: 2.1\nName: datahub-conformance-probe\nVersion: 1\n"
    (declared / "METADATA").write_text(metadata, "utf-8")
    (declared / "entry_points.txt").write_text(_ENTRY_POINTS, "utf-8")
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


class _Lines(logging.Handler):
    def __init__(self, subtask_id: str, lines: list[Line]) -> None:
        super().__init__()
        self._subtask_id = subtask_id
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        message = self.format(record)
        if getattr(record, "subtask_id", None) == self._subtask_id or self._subtask_id in message:
            self._lines.append(Line(record.name, message))


@contextmanager
def _log_of(subtask_id: str) -> Iterator[list[Line]]:
    """The lines that are logged meanwhile of a subtask, by the framework, the plugin and others."""
    lines: list[Line] = []
    handler = _Lines(subtask_id, lines)
    root, level = logging.getLogger(), logging.root.level
    root.addHandler(handler)
    root.setLevel(min(level, logging.INFO))
    try:
        yield lines
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
