"""The command ``dev``, up to where all that it needs is there."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, TextIO

import click

from plugin_framework.cli.emulator import chaos_of, datahub_options, kept_credentials
from plugin_framework.cli.info import import_from_here
from plugin_framework.cli.logs import set_up_logging
from plugin_framework.cli.serve import warn_of_unknown_variables
from plugin_framework.cli.state import alone, kept_ports
from plugin_framework.cli.streams import own_streams


@click.command(
    "dev", short_help="Plugins that reload as you edit, and a local Datahub with a page."
)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="The page's port; else that of last time, or a free one.",
)
@click.option(
    "--state",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where all state is kept; else dev/ in DATAHUB_STATE_DIR.",
)
@datahub_options
def dev_command(
    names: tuple[str, ...], port: int | None, state: Path | None, dialect: str, chaos: Path | None
) -> None:
    """Serve plugins beside a local Datahub, in one terminal, and print the page's address.

    NAME is an installed plugin, or a reference such as module:Class; without one, all installed
    plugins are served.

    When code of a plugin changes, the service starts anew: what runs goes on as another attempt,
    and what waits goes on waiting. SIGINT (Ctrl-C) and SIGTERM end all; the next start goes on with
    what was there.
    """
    from plugin_framework.cli.dev.service import Orders  # noqa: PLC0415 - loaded late
    from plugin_framework.cli.dev.session import Happenings, Session  # noqa: PLC0415 - loaded late
    from plugin_framework.cli.dev.sources import Sources  # noqa: PLC0415 - loaded late
    from plugin_framework.emulator import Emulator  # noqa: PLC0415 - loaded late
    from plugin_framework.emulator.settings import LOST_SECONDS  # noqa: PLC0415 - loaded late
    from plugin_framework.testing.settings import (  # noqa: PLC0415 - loaded late
        local_settings,
        local_state_dir,
    )

    happenings = Happenings()
    plugins = _plugins(names)
    faults = chaos_of(chaos)
    logged = local_settings({})
    folder = (state or local_state_dir() / "dev").absolute()
    with ExitStack() as made:
        made.enter_context(alone(folder, "--state", "another `dev`"))
        ports = made.enter_context(kept_ports(folder / "ports.json", [port, None]))
        credentials = kept_credentials(folder / "datahub")
        say, stderr = made.enter_context(own_streams())
        datahub = Emulator(
            state_dir=folder / "datahub",
            key=credentials.key,
            secret=credentials.secret,
            port=ports[0],
            dialect=dialect,
            chaos=faults,
            lost_after=LOST_SECONDS,
        )
        made.enter_context(datahub)
        say(f"page: {datahub.url}/")
        _set_up_logging(logged.log_level, logged.log_format, stderr)
        warn_of_unknown_variables()
        orders = Orders(
            names=tuple(plugins),
            port=ports[1],
            base_url=datahub.url,
            api_key=credentials.key,
            api_secret=credentials.secret,
            state_dir=str(folder / "service"),
            parent=os.getpid(),
        )
        sources = Sources(plugins.values(), spared=folder)
        code = Session(happenings, datahub, orders).run(sources)
    sys.exit(code)


def _plugins(names: tuple[str, ...]) -> dict[str, str]:
    """The module of each plugin that is to be served."""
    from plugin_framework.plugin.loader import (  # noqa: PLC0415 - loaded late
        find_plugin,
        installed_plugins,
    )

    for name in names:
        if names.count(name) > 1:
            raise click.UsageError(f"{name} is given twice")
        import_from_here(name)
    modules = {name: find_plugin(name).module for name in names or installed_plugins()}
    if not modules:
        raise click.UsageError("no plugins are installed: give one, such as module:Class")
    return modules


def _set_up_logging(level: str, style: Literal["auto", "json", "text"], stderr: TextIO) -> None:
    from plugin_framework.cli.dev.lines import Prefixed  # noqa: PLC0415 - loaded late

    if set_up_logging(level, style, stderr) is not None:
        for handler in logging.root.handlers:
            handler.addFilter(Prefixed())
