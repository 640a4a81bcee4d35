"""``run``: one subtask, against Datahub or locally."""

from __future__ import annotations

import json
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO

import click

from plugin_framework.cli.info import import_from_here
from plugin_framework.cli.logs import ToldOnce
from plugin_framework.cli.serve import log_subtasks
from plugin_framework.cli.streams import own_streams
from plugin_framework.redaction import redacted

if TYPE_CHECKING:
    from rich.console import Console

    from plugin_framework.lifecycle.outcome import TaskOutcome
    from plugin_framework.lifecycle.runner import Run
    from plugin_framework.settings import Settings


def _unicode(
    _context: click.Context, parameter: click.Parameter, given: str | tuple[str, ...] | None
) -> Any:
    if given and any("\ud800" <= character <= "\udfff" for text in given for character in text):
        raise click.BadParameter("expected UTF-8 text", param=parameter)
    return given


class Stopped(SystemExit):
    """A signal came before the subtask was started."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal: signal.Signals = signal.Signals(number)


REST_SECONDS = 5.0
"""How long a run that is over waits for what else is being delivered."""


@click.command("run", short_help="Run one subtask, against Datahub or on a local file.")
@click.argument("name", required=False, callback=_unicode)
@click.option(
    "--subtask-id", metavar="ID", callback=_unicode, help="The subtask to run (DATAHUB_SUBTASK_ID)."
)
@click.option(
    "--task-id", metavar="ID", callback=_unicode, help="The task it belongs to (DATAHUB_TASK_ID)."
)
@click.option(
    "--config", metavar="FILE|JSON", callback=_unicode, help="The task's config (DATAHUB_CONFIG)."
)
@click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_unicode,
    help="One value of the config: JSON, or else text. A dot in KEY reaches into an object.",
)
@click.option(
    "--local",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Run on this file with an embedded Datahub: no server, no network.",
)
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where the outputs of --local go.",
)
def run_command(
    name: str | None,
    subtask_id: str | None,
    task_id: str | None,
    config: str | None,
    assignments: tuple[str, ...],
    local: Path | None,
    out: Path | None,
) -> None:
    """Run one subtask with plugin NAME (DATAHUB_PLUGIN), print its outcome as JSON, and exit.

    NAME is an installed plugin, or a reference such as package.module:Class.

    \b
    Exit codes:
      0    completed
      1    failed
      2    usage, configuration or unknown plugin
      4    cancelled
      69   Datahub unreachable at the start
      75   a report is undelivered and kept, or the subtask is already running here
      130  stopped by SIGINT, where nothing else applies
      143  stopped by SIGTERM, where nothing else applies
    """  # noqa: D301 - the \b is click's, and keeps the lines as they are
    with _Signals() as signals:
        if (local is None) != (out is None):
            raise click.UsageError("--local FILE and --out DIR go together")
        settings = _settings(local=local is not None)
        plugin = name or settings.plugin or ""
        subtask = subtask_id or settings.subtask_id or ("local" if local else "")
        task: dict[str, Any] = {
            "subtask_id": subtask,
            "config": _checked(
                settings, plugin, subtask, config, assignments, remote=local is None
            ),
        }
        import_from_here(plugin)
        with own_streams() as (say, stderr):
            with _shown(settings, plugin, stderr) as observers:
                if local and out:
                    outcome = _run_local(plugin, local, out, task, observers, signals.obey)
                else:
                    task["task_id"] = task_id or settings.task_id
                    outcome = _run_remote(plugin, settings, task, observers, signals.obey)
            try:
                say(_as_line(outcome))
            finally:
                _ignore_signals()
                sys.exit(outcome.exit_code)


def _settings(*, local: bool) -> Settings:
    from plugin_framework.settings import load_settings  # noqa: PLC0415 - loaded late
    from plugin_framework.testing.settings import local_settings  # noqa: PLC0415 - loaded late

    return local_settings({}) if local else load_settings()


def _checked(
    settings: Settings,
    plugin: str,
    subtask: str,
    config: str | None,
    assignments: tuple[str, ...],
    *,
    remote: bool,
) -> dict[str, Any]:
    """The task's config; ConfigurationError with a line for each thing that is missing or wrong."""
    from plugin_framework.cli.config import read_config  # noqa: PLC0415 - loaded late
    from plugin_framework.errors import (  # noqa: PLC0415 - loaded late
        Code,
        ConfigurationError,
        Problem,
    )

    problems: list[Problem] = []
    given: dict[str, Any] = {}
    if not plugin:
        told = "which plugin? Give NAME or set DATAHUB_PLUGIN"
        problems.append(Problem(told, Code.SETTING_MISSING))
    if not subtask:
        told = (
            "which subtask? Give --subtask-id or set DATAHUB_SUBTASK_ID; to try a plugin without a"
            " Datahub, give --local FILE --out DIR"
        )
        problems.append(Problem(told, Code.SETTING_MISSING))
    try:
        given = read_config(config or settings.config, assignments)
    except ConfigurationError as error:
        problems += error.problems
    if not problems:
        return given  # Datahub's address is missed later, beside warnings about variables' names
    try:
        if remote:
            settings.require_datahub()
    except ConfigurationError as error:
        problems += error.problems
    raise ConfigurationError(problems)


def _run_local(
    plugin: str,
    local: Path,
    out: Path,
    task: Mapping[str, Any],
    observers: Mapping[str, object],
    on_run: Callable[[Run], None],
) -> TaskOutcome:
    from plugin_framework.testing.local import run_local  # noqa: PLC0415 - loaded late

    return run_local(plugin, input=local, out=out, observers=observers, on_run=on_run, **task)


def _run_remote(
    plugin: str,
    settings: Settings,
    task: Mapping[str, Any],
    observers: Mapping[str, object],
    on_run: Callable[[Run], None],
) -> TaskOutcome:
    from plugin_framework.engines.delivery import deliver_the_rest  # noqa: PLC0415 - loaded late
    from plugin_framework.engines.local import LocalEngine  # noqa: PLC0415 - loaded late

    with LocalEngine(plugin, settings, observers=observers) as engine:
        run = engine.run(**task)
        on_run(run)
        over = threading.Event()
        rest = threading.Thread(
            target=deliver_the_rest,
            args=(settings, task["subtask_id"]),
            kwargs={"begun": lambda: run.running or over.is_set()},
            daemon=True,
        )
        rest.start()
        outcome = run.execute()
        over.set()
        if outcome.delivered and outcome.signal is None:
            rest.join(REST_SECONDS)
        return outcome


def _as_line(outcome: TaskOutcome) -> str:
    facts = outcome.as_json()
    facts["error"] = facts["error"] and redacted(facts["error"])
    return json.dumps(facts, ensure_ascii=False)


class _Signals:
    """While it is entered, SIGTERM and SIGINT end the command.

    A run ends its task as ON_SHUTDOWN says, and at a second signal at once. It is told by a thread:
    a handler may interrupt any line, one that holds a lock too; and where another thread than the
    main one receives a signal, no handler is called as long as the main one waits.
    """

    def __init__(self) -> None:
        self._received, self._wakeup = socket.socketpair()
        self._wakeup.setblocking(False)
        self._current: Run | None = None
        self._stopped: Stopped | None = None

    def __enter__(self) -> Self:
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)
        signal.set_wakeup_fd(self._wakeup.detach(), warn_on_full_buffer=False)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if self._stopped is not None and isinstance(error, Exception):
            raise self._stopped from None  # of which a library has made an error of its own

    def obey(self, run: Run) -> None:
        """From here on it is this run that they end."""
        if self._stopped is not None:  # raised where it was passed over, as in a finalizer
            raise self._stopped
        self._current = run
        threading.Thread(target=self._pass_on, args=(run,), daemon=True, name="shutdown").start()

    def _handle(self, number: int, _frame: object) -> None:
        if self._current is None or self._current.call_off():
            _ignore_signals()
            self._stopped = Stopped(number)
            raise self._stopped

    def _pass_on(self, run: Run) -> None:
        while numbers := self._received.recv(64):
            while not run.running:
                threading.Event().wait(0.01)
            for number in numbers:
                if number in {signal.SIGTERM, signal.SIGINT}:
                    run.shutdown(number)


def _ignore_signals() -> None:
    """From here to the end of the command.

    The interpreter gives signals their own way back as it ends: one that came then would make of a
    completed task a killed command, and another one before that would cut the cleaning up short.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _shown(settings: Settings, plugin: str, stderr: TextIO) -> Iterator[dict[str, object]]:
    """Set logging up, and yield the observers that show the task."""
    from plugin_framework.telemetry.exposing import exposed  # noqa: PLC0415 - loaded late

    console, facts = log_subtasks(settings, stderr)
    with exposed(settings.metrics) as figures:
        observers: dict[str, object] = {**facts, **figures}
        if console is None:
            yield observers
            return
        for handler in logging.root.handlers:
            handler.addFilter(ToldOnce())
        with _live_line(console, plugin) as live:
            yield {"live line": live, **observers}


@contextmanager
def _live_line(console: Console, plugin: str) -> Iterator[object]:
    from plugin_framework.cli.live import LiveLine  # noqa: PLC0415 - only a terminal needs it

    line = LiveLine(console, plugin)
    line.start()
    try:
        yield line
    finally:
        line.stop()
