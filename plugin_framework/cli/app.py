"""The command's entry, and what errors become there: one line each, and an exit code."""

from __future__ import annotations

import sys

import click

from plugin_framework import errors
from plugin_framework._version import __version__
from plugin_framework.cli.check import check_command
from plugin_framework.cli.dev import dev_command
from plugin_framework.cli.doctor import doctor_command
from plugin_framework.cli.emulator import emulator_command
from plugin_framework.cli.explain import explain_command
from plugin_framework.cli.info import info_command, list_command
from plugin_framework.cli.journal import journal_command
from plugin_framework.cli.logs import tell
from plugin_framework.cli.new import new_command
from plugin_framework.cli.run import Stopped, run_command
from plugin_framework.cli.serve import serve_command
from plugin_framework.cli.worker import worker_command
from plugin_framework.errors import Code, Problem
from plugin_framework.hidden import hide


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="datahub-plugin")
def app() -> None:
    """Run Datahub plugins.

    Settings are environment variables named DATAHUB_..., also read from a file .env in the
    current folder; `info NAME` lists them. To try a plugin without a Datahub:

    \b
      datahub-plugin run NAME --local FILE --out DIR
    """  # noqa: D301 - the \b is click's, and keeps the line as it is


app.add_command(list_command)
app.add_command(info_command)
app.add_command(run_command)
app.add_command(serve_command)
app.add_command(worker_command)
app.add_command(journal_command)
app.add_command(dev_command)
app.add_command(emulator_command)
app.add_command(explain_command)
app.add_command(new_command)
app.add_command(check_command)
app.add_command(doctor_command)


def main() -> None:
    """Run the command and exit with its code."""
    hide()
    try:
        sys.exit(app(prog_name="datahub-plugin", standalone_mode=False))
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "datahub-plugin"
        told = f"{error.format_message()} (see {command} --help)"
        _fail((Problem(told, Code.USAGE),), error.exit_code)
    except click.Abort:
        _fail((Problem("stopped by SIGINT", Code.STOPPED_BY_SIGNAL),), 130)
    except Stopped as stopped:
        told = f"stopped by {stopped.signal.name} before the subtask was started"
        _fail((Problem(told, Code.STOPPED_BY_SIGNAL),), 128 + stopped.signal)
    except errors.DatahubError as error:
        _fail(problem_lines(error), exit_code(error))


def _fail(problems: tuple[Problem, ...], code: int) -> None:
    for problem in problems:
        tell(Problem(" ".join(problem.split()), problem.code))
    sys.exit(code)


def problem_lines(error: errors.DatahubError) -> tuple[Problem, ...]:
    """What to tell the operator: a line for each problem."""
    if isinstance(error, errors.ConfigurationError):
        return error.problems
    return (errors.problem_of(error, str(error)),)


def exit_code(error: errors.DatahubError) -> int:
    """The exit code of an error that ended the command before or instead of a task."""
    if isinstance(error, errors.RetryableError):
        return 69
    if isinstance(error, errors.TaskLockedError):
        return 75
    return 2
