"""The service's process; started by ``ServiceProcess``, which tells it what to serve."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import IO

from pydantic import SecretStr

from plugin_framework.cli.app import exit_code, problem_lines
from plugin_framework.cli.dev.service import Orders
from plugin_framework.cli.info import import_from_here
from plugin_framework.cli.logs import set_up_logging
from plugin_framework.cli.serve import end_at_signals
from plugin_framework.cli.streams import own_streams
from plugin_framework.errors import DatahubError
from plugin_framework.hidden import hide
from plugin_framework.plugin.command import die_with_parent
from plugin_framework.service.server import serve
from plugin_framework.settings import Settings
from plugin_framework.testing.settings import local_settings

HEARTBEAT_SECONDS = 2.0
"""Unless the author says otherwise: somebody looks at the page, which shows what heartbeats say."""

log: logging.Logger = logging.getLogger("datahub.dev")


def main(commands: IO[str]) -> int:
    """Serve as ``commands`` say, until SIGTERM or the parent's end; returns the exit code."""
    hide()
    die_with_parent()
    end_at_signals()
    orders = Orders(**json.load(commands))
    if os.getppid() != orders.parent:
        return 1
    with own_streams() as (_, stderr):
        set_up_logging("INFO", "json", stderr)
        try:
            settings = settings_of(orders)
            logging.root.setLevel(settings.log_level)
            for name in orders.names:
                import_from_here(name)
            serve(orders.names, settings, host="127.0.0.1", port=orders.port)
        except DatahubError as error:
            for line in problem_lines(error):
                log.error("%s", line)  # noqa: TRY400 - a line for people
            return exit_code(error)
    return 0


def settings_of(orders: Orders) -> Settings:
    """The author's, but for those that say which Datahub; a restart must end no subtask."""
    settings = local_settings(
        {},
        base_url=orders.base_url,
        api_key=SecretStr(orders.api_key),
        api_secret=SecretStr(orders.api_secret),
        state_dir=Path(orders.state_dir),
        on_shutdown="leave",
        on_interrupted="resume",
    )
    if "heartbeat_seconds" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"heartbeat_seconds": HEARTBEAT_SECONDS})


if __name__ == "__main__":
    sys.exit(main(sys.stdin))
