"""``run``: one subtask, against Datahub or locally."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console

    from plugin_framework.lifecycle.outcome import TaskOutcome
    from plugin_framework.lifecycle.runner import Run
    from plugin_framework.settings import Settings


@click.command("run")
@click.argument("name", required=False)
@click.option("--subtask-id", metavar="ID", help="The subtask to run (DATAHUB_SUBTASK_ID).")
@click.option("--task-id", metavar="ID", help="The task it belongs to (DATAHUB_TASK_ID).")
@click.option("--config", metavar="FILE|JSON", help="The task's config (DATAHUB_CONFIG).")
@click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="One config value.")
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

    Exit codes: 0 completed, 1 failed, 2 usage or configuration, 4 cancelled, 69 Datahub unreachable
    at the start, 75 a report is undelivered and kept (or the subtask is already running here), 130
    and 143 stopped by a signal.
    """
    from plugin_framework.cli.config import read_config  # noqa: PLC0415 - loaded late
    from plugin_framework.settings import load_settings  # noqa: PLC0415 - loaded late

    if (local is None) != (out is None):
        raise click.UsageError("--local FILE and --out DIR go together")
    settings = load_settings()
    plugin = name or settings.plugin
    subtask = subtask_id or settings.subtask_id or ("local" if local else None)
    if not plugin:
        raise click.UsageError("which plugin? Give NAME or set DATAHUB_PLUGIN")
    if not subtask:
        raise click.UsageError("which subtask? Give --subtask-id or set DATAHUB_SUBTASK_ID")
    if ":" in plugin and "" not in sys.path:
        sys.path.insert(0, "")
    task: dict[str, Any] = {
        "subtask_id": subtask,
        "config": read_config(config or settings.config, assignments),
    }
    with _only_the_outcome_on_stdout() as stdout, _shown(settings, plugin) as observers:
        if local and out:
            outcome = _run_local(plugin, local, out, task, observers)
        else:
            task["task_id"] = task_id or settings.task_id
            outcome = _run_remote(plugin, settings, task, observers)
        print(json.dumps(outcome.as_json(), ensure_ascii=False), file=stdout, flush=True)
    sys.exit(outcome.exit_code)


def _run_local(
    plugin: str, local: Path, out: Path, task: dict[str, Any], observers: dict[str, object]
) -> TaskOutcome:
    from plugin_framework.testing.local import run_local  # noqa: PLC0415 - loaded late

    return run_local(
        plugin, input=local, out=out, observers=observers, on_run=_obey_signals, **task
    )


def _run_remote(
    plugin: str, settings: Settings, task: dict[str, Any], observers: dict[str, object]
) -> TaskOutcome:
    from plugin_framework.engines.local import LocalEngine  # noqa: PLC0415 - loaded late

    with LocalEngine(plugin, settings, observers=observers) as engine:
        run = engine.run(**task)
        _obey_signals(run)
        return run.execute()


def _obey_signals(run: Run) -> None:
    """Have SIGTERM and SIGINT end the task as ON_SHUTDOWN says; a second one at once."""

    def handle(number: int, _frame: object) -> None:
        if not run.running:
            sys.exit(128 + number)
        # On a thread of its own: a handler may interrupt any line, one that holds a lock too.
        threading.Thread(target=run.shutdown, args=(number,), daemon=True).start()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


@contextmanager
def _only_the_outcome_on_stdout() -> Iterator[TextIO]:
    """Yield the real stdout, and let whatever else is printed go to stderr."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as stdout:
        os.dup2(2, 1)
        try:
            yield stdout
        finally:
            sys.stdout.flush()
            os.dup2(stdout.fileno(), 1)


@contextmanager
def _shown(settings: Settings, plugin: str) -> Iterator[dict[str, object]]:
    """Set logging up, and yield the observers that show the task."""
    from plugin_framework.cli.logs import set_up_logging  # noqa: PLC0415 - loaded late
    from plugin_framework.settings import unknown_variables  # noqa: PLC0415 - loaded late

    console = set_up_logging(settings.log_level, settings.log_format)
    for warning in unknown_variables(os.environ):
        logging.getLogger("datahub.settings").warning("%s", warning)
    if console is None:
        yield {}
        return
    with _live_line(console, plugin) as live:
        yield {"live line": live}


@contextmanager
def _live_line(console: Console, plugin: str) -> Iterator[object]:
    from plugin_framework.cli.live import LiveLine  # noqa: PLC0415 - only a terminal needs it

    line = LiveLine(console, plugin)
    line.start()
    try:
        yield line
    finally:
        line.stop()
