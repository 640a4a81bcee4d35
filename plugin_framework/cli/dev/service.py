"""The service as a child process of ``dev``: what it is told, and how it is ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import IO

from plugin_framework.settings import secret_variables
from plugin_framework.settings.values import PREFIX

PATIENCE_SECONDS = 3.0
"""How long subtasks have to come to a checkpoint before a restart ends their processes."""

AT_ONCE_SECONDS = 5.0
"""What the service may take to end them."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What the child is told on its standard input, where secrets are nobody else's to see."""

    names: tuple[str, ...]
    port: int
    base_url: str
    api_key: str
    api_secret: str = field(repr=False)
    state_dir: str
    parent: int


class ServiceProcess:
    """A service; the main thread makes it, for it dies with the thread that did.

    ``on_line`` is given each line of its log, and ``on_end`` is called after the last one, both
    from a thread.
    """

    def __init__(
        self,
        orders: Orders,
        on_line: Callable[[str], None],
        on_end: Callable[[ServiceProcess], None],
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "plugin_framework.cli.dev"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # A file that is saved twice in one second would be run as it was the first time.
            env={**_environment(), "PYTHONDONTWRITEBYTECODE": "1"},
            # Ctrl-C is for ``dev``, which ends all in order.
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        with suppress(BrokenPipeError):
            json.dump(asdict(orders), self._process.stdin)
            self._process.stdin.close()
        self._thread = threading.Thread(
            target=self._read, args=(self._process.stderr, on_line, on_end), daemon=True
        )
        self._thread.start()

    @property
    def code(self) -> int:
        """How it ended, as of ``subprocess``; once it has."""
        return self._process.wait()

    def stop(self) -> None:
        """End it: subtasks that run go on at the next start, if need be from their last state."""
        for number, seconds in (
            (signal.SIGTERM, PATIENCE_SECONDS),
            (signal.SIGTERM, AT_ONCE_SECONDS),
            (signal.SIGKILL, None),
        ):
            self._process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
                break
        self._thread.join()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def _read(
        self,
        lines: IO[str],
        on_line: Callable[[str], None],
        on_end: Callable[[ServiceProcess], None],
    ) -> None:
        with lines:
            for line in lines:
                on_line(line)
        self._process.wait()
        on_end(self)


def _environment() -> dict[str, str]:
    """Less the secrets of another Datahub's; collectors of telemetry are the same here."""
    secrets = {name for name in secret_variables() if name.upper().startswith(PREFIX)}
    return {name: text for name, text in os.environ.items() if name not in secrets}
