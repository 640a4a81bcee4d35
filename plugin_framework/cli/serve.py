"""``serve``: the plugin service."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, TextIO

import click

from plugin_framework.cli.info import import_from_here
from plugin_framework.cli.logs import Origin, set_up_logging
from plugin_framework.cli.streams import own_streams

if TYPE_CHECKING:
    from rich.console import Console

    from plugin_framework.settings import Settings
    from plugin_framework.telemetry.log_facts import LogFacts


@click.command("serve", short_help="Serve plugins: take subtasks from Datahub, and run them.")
@click.argument("names", metavar="NAME...", nargs=-1)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The port; 0 takes a free one.",
)
@click.option("--access-log", is_flag=True, help="Write a log line for each request.")
def serve_command(names: tuple[str, ...], host: str, port: int, *, access_log: bool) -> None:
    """Take signed calls from Datahub, and run subtasks of the plugins side by side.

    NAME is an installed plugin, or a reference such as package.module:Class (DATAHUB_PLUGIN).
    Requests are signed with DATAHUB_API_KEY and DATAHUB_API_SECRET; without them only loopback is
    served.

    SIGTERM and SIGINT end the service: it takes no more subtasks, treats those that run as
    DATAHUB_ON_SHUTDOWN says, and exits with 0. What waits is run at the next start.
    """
    from plugin_framework.service.server import serve  # noqa: PLC0415 - loaded late
    from plugin_framework.settings import load_settings  # noqa: PLC0415 - loaded late

    end_at_signals()
    settings = load_settings()
    plugins = chosen_plugins(names, settings)
    with own_streams() as (_, stderr):
        _, observers = log_subtasks(settings, stderr)
        serve(plugins, settings, host=host, port=port, request_log=access_log, observers=observers)


def end_at_signals() -> None:
    """Exit at SIGTERM and SIGINT, until there is something to end in good order."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _frame: sys.exit(128 + got))


def chosen_plugins(names: tuple[str, ...], settings: Settings) -> tuple[str, ...]:
    """The plugins to run: those that are named, or else that of the settings.

    Raises:
        click.UsageError: there is none.
    """
    plugins = names or ((settings.plugin,) if settings.plugin else ())
    if not plugins:
        raise click.UsageError("which plugin? Give NAME or set DATAHUB_PLUGIN")
    for name in plugins:
        import_from_here(name)
    return plugins


def log_subtasks(
    settings: Settings, stderr: TextIO, node: str | None = None
) -> tuple[Console | None, dict[str, LogFacts]]:
    """Log as the settings say, and first which variables look like settings and are none.

    Returns the console of the live display, where there is one, and what is to observe subtasks,
    so that lines tell their attempts.
    """
    from plugin_framework.telemetry.log_facts import LogFacts  # noqa: PLC0415 - loaded late

    facts = LogFacts()
    origin = Origin(node, facts.by_subtask)
    console = set_up_logging(settings.log_level, settings.log_format, stderr, origin)
    warn_of_unknown_variables()
    return console, {"log facts": facts}


def warn_of_unknown_variables() -> None:
    """Log which variables of the environment look like settings and are none."""
    from plugin_framework.settings import unknown_variables  # noqa: PLC0415 - loaded late

    for warning in unknown_variables(os.environ):
        logging.getLogger("datahub.settings").warning("%s", warning)
