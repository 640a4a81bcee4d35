"""The command's entry, and what errors become there: one line each, and an exit code."""

from __future__ import annotations

import sys

import click

from plugin_framework import errors
from plugin_framework._version import __version__
from plugin_framework.cli.dev import dev_command
from plugin_framework.cli.emulator import emulator_command
from plugin_framework.cli.info import info_command, list_command
from plugin_framework.cli.journal import journal_command
from plugin_framework.cli.logs import tell
from plugin_framework.cli.run import Stopped, run_command
from plugin_framework.cli.serve import serve_command


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
app.add_command(journal_command)
app.add_command(dev_command)
app.add_command(emulator_command)


def main() -> None:
    """Run the command and exit with its code."""
    try:
        sys.exit(app(prog_name="datahub-plugin", standalone_mode=False))
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "datahub-plugin"
        _fail((f"{error.format_message()} (see {command} --help)",), error.exit_code)
    except click.Abort:
        _fail(("stopped by SIGINT",), 130)
    except Stopped as stopped:
        told = f"stopped by {stopped.signal.name} before the subtask was started"
        _fail((told,), 128 + stopped.signal)
    except errors.DatahubError as error:
        _fail(problem_lines(error), exit_code(error))


def _fail(lines: tuple[str, ...], code: int) -> None:
    for line in lines:
        tell(" ".join(line.split()))
    sys.exit(code)


def problem_lines(error: errors.DatahubError) -> tuple[str, ...]:
    """What to tell the operator: a line for each problem."""
    return error.problems if isinstance(error, errors.ConfigurationError) else (str(error),)


def exit_code(error: errors.DatahubError) -> int:
    """The exit code of an error that ended the command before or instead of a task."""
    if isinstance(error, errors.RetryableError):
        return 69
    if isinstance(error, errors.TaskLockedError):
        return 75
    return 2
