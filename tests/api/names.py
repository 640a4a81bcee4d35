"""The public names that are no Python: what operators, dashboards and other packages go by.

Run as a script, with ``plugin_framework`` on the path and its project's folder as the argument, it
prints them as JSON.
"""

from __future__ import annotations

import inspect
import json
import re
import signal
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias, get_args

import click
from _pytest.fixtures import FixtureFunctionDefinition

from plugin_framework import TaskOutcome, TaskStatus, errors
from plugin_framework.cli.app import app, exit_code
from plugin_framework.plugin import loader
from plugin_framework.service.metrics import Metrics
from plugin_framework.settings import catalogue
from plugin_framework.testing import pytest_plugin

Parameters: TypeAlias = list[list[str | bool]]
"""Of a command, each with its name, its kind, and whether it must be given."""


def variables() -> Iterator[str]:
    """Those of the environment, and the words that they take."""
    for name, field in catalogue.fields():
        yield f"setting {name}"
        for word in get_args(field.annotation):
            if isinstance(word, str):
                yield f"setting {name} {word}"


def commands() -> Iterator[tuple[str, Parameters]]:
    """Each command with its arguments in order, and its options by name."""
    for path, context in _contexts():
        arguments: Parameters = []
        options: Parameters = []
        for one in context.command.get_params(context):
            many = one.multiple if isinstance(one, click.Option) else one.nargs != 1
            kind = "many" if many else "one"
            if isinstance(one, click.Option):
                kind = "flag" if one.is_flag or one.count else kind
                names = [] if one.hidden else [*one.opts, *one.secondary_opts]
                options += [[name, kind, one.required] for name in names]
            else:
                arguments.append([f"number {len(arguments) + 1}", kind, one.required])
        yield path, [*arguments, *sorted(options)]


def choices() -> Iterator[str]:
    """The words that options take."""
    for path, context in _contexts():
        for one in context.command.params:
            if isinstance(one.type, click.Choice):
                for word in one.type.choices:
                    yield f"{path} {one.opts[0]} {word}"


def exits() -> Iterator[str]:
    """Exit codes: that of each ending and of each error, and those that a command's help names."""
    for status in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED):
        yield f"exit code {_outcome(status).exit_code} after {status.name.lower()}"
    kept = _outcome(TaskStatus.FAILED, delivered=False)
    yield f"exit code {kept.exit_code} with a report kept"
    for number in (signal.SIGINT, signal.SIGTERM):
        ended = _outcome(TaskStatus.PAUSED, signal=number)
        yield f"exit code {ended.exit_code} after {number.name}"
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.DatahubError):
            # Its class alone decides, and each constructor is another.
            yield f"exit code {exit_code(kind.__new__(kind))} after {name}"
    for path, context in _contexts():
        _, _, told = inspect.cleandoc(context.command.help or "").partition("Exit codes:\n")
        for code in re.findall(r"^ +(\d+) ", told.partition("\n\n")[0], re.MULTILINE):
            yield f"exit code {code} of {path}"


def fixtures() -> Iterator[str]:
    """Those that tests of plugins ask for."""
    for found in vars(pytest_plugin).values():
        if isinstance(found, FixtureFunctionDefinition) and not found.name.startswith("_"):
            yield f"fixture {found.name}"


def metrics() -> Iterator[str]:
    """Those of a service that had one request and ran one subtask; not the process's own."""
    figures = Metrics()
    figures.request("ready", 200, 0.0)
    figures.ended(TaskStatus.COMPLETED)
    figures.tasks.datahub_attempt_begun("s", "p")
    figures.tasks.datahub_stalled("s")
    figures.tasks.datahub_attempt_ended("s", TaskStatus.COMPLETED, 1.0, 1)
    shown = figures.text({"running": 0}).decode()
    for name, labels in re.findall(r"^(datahub_\w+)\{(.*)\} ", shown, re.MULTILINE):
        if not name.endswith("_created"):  # the client's own affair
            by = " and ".join(re.findall(r"(\w+)=", labels))
            yield f"metric {name} by {by}"


def entry_points(project: dict[str, Any]) -> Iterator[str]:
    """The groups that are looked through, and what the package itself declares."""
    for group in (loader.PLUGIN_GROUP, loader.EXTENSION_GROUP, *project["entry-points"]):
        yield f"entry point group {group}"
    for name in project["scripts"]:
        yield f"script {name}"


def extras(project: dict[str, Any]) -> Iterator[str]:
    """What is installed by name."""
    for extra in ("", *project["optional-dependencies"]):
        yield f"distribution {project['name']}" + (f"[{extra}]" if extra else "")


def _contexts() -> Iterator[tuple[str, click.Context]]:
    todo = [click.Context(app, info_name="datahub-plugin", **app.context_settings)]
    while todo:
        above = todo.pop()
        yield above.command_path, above
        for name, command in getattr(above.command, "commands", {}).items():
            if not command.hidden:
                todo.append(click.Context(command, parent=above, info_name=name))


def _outcome(status: TaskStatus, **facts: Any) -> TaskOutcome:
    known = {"result": None, "outputs": (), "error": None, "delivered": True, "attempt": 1}
    return TaskOutcome(subtask_id="s", status=status, **{**known, **facts})


def main(folder: Path) -> None:
    """Print them all, None where there are no parameters."""
    told = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    kinds = (
        variables(),
        choices(),
        exits(),
        fixtures(),
        metrics(),
        entry_points(told),
        extras(told),
    )
    found = {**dict.fromkeys(chain(*kinds)), **dict(commands())}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
