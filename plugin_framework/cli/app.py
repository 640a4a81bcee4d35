"""The command's entry, and what errors become there: one line each, and an exit code."""

from __future__ import annotations

import sys

import click

from plugin_framework import errors
from plugin_framework._version import __version__
from plugin_framework.cli.info import info_command, list_command
from plugin_framework.cli.run import run_command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="datahub-plugin")
def app() -> None:
    """Run Datahub plugins."""


app.add_command(list_command)
app.add_command(info_command)
app.add_command(run_command)


def main() -> None:
    """Run the command and exit with its code."""
    try:
        app(prog_name="datahub-plugin")
    except errors.DatahubError as error:
        for line in problem_lines(error):
            click.echo(f"datahub-plugin: {line}", err=True)
        sys.exit(exit_code(error))


def problem_lines(error: errors.DatahubError) -> tuple[str, ...]:
    """What to tell the operator: a line for each problem."""
    if isinstance(error, errors.ConfigurationError):
        return tuple(" ".join(problem.split()) for problem in error.problems)
    return (" ".join(str(error).split()),)


def exit_code(error: errors.DatahubError) -> int:
    """The exit code of an error that ended the command before or instead of a task."""
    if isinstance(error, errors.RetryableError):
        return 69
    if isinstance(error, errors.TaskLockedError):
        return 75
    return 2
