"""A task's process, as seen from the supervisor."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from plugin_framework.isolation.channel import Channel, serve
from plugin_framework.isolation.freeze import freeze, thaw
from plugin_framework.isolation.output import relog
from plugin_framework.isolation.session import TaskHost, describe
from plugin_framework.isolation.worker_exit import WorkerExit
from plugin_framework.protocol.models import TaskStatus

DRAIN_SECONDS = 2.0
"""How long what an ended process has sent and printed may take to be read."""

log: logging.Logger = logging.getLogger("datahub.isolation")


class ProcessWorker:
    """The process of one task; ``pid`` is known once it is forked.

    One that ``freezes`` is stopped where it is by a pause, and need not come to a checkpoint.
    """

    def __init__(
        self,
        subtask_id: str,
        channel: Channel,
        output: threading.Thread,
        host: TaskHost,
        on_exit: Callable[[WorkerExit], None],
    ) -> None:
        self.pid: int | None = None
        self.freezes = False
        self._frozen = False
        self._subtask_id = subtask_id
        self._channel = channel
        self._output = output
        self._host = host
        self._on_exit = on_exit
        self._broken: str | None = None
        self._served = threading.Thread()

    def serve(self, start: Mapping[str, Any]) -> None:
        """Tell the process what to do, and answer it, from a thread."""
        self._served = threading.Thread(
            target=self._serve, args=(start,), daemon=True, name="serve"
        )
        self._served.start()

    def signal(self, name: str) -> None:
        """Pass on ``pause``, ``resume``, ``cancel`` or ``fail``."""
        if self.freezes and name == "pause":
            self._freeze()
        elif self._thaw() and name == "resume":
            self._host.confirm(TaskStatus.RUNNING)
        else:
            with suppress(OSError):
                self._channel.send({"signal": name})

    def terminate(self) -> None:
        """Ask the process group to end (SIGTERM)."""
        self._signal_group(signal.SIGTERM)
        self._thaw()

    def kill(self) -> None:
        """End the process group (SIGKILL)."""
        self._signal_group(signal.SIGKILL)

    def exited(self, how: WorkerExit) -> None:
        """The process is gone: have its group ended, its output drained, the runner told."""
        threading.Thread(target=self._exited, args=(how,), daemon=True, name="exited").start()

    def _exited(self, how: WorkerExit) -> None:
        self.kill()
        self._output.join(timeout=DRAIN_SECONDS)
        self._served.join(timeout=DRAIN_SECONDS)
        self._on_exit(how if self._broken is None else replace(how, reason=self._broken))

    def _freeze(self) -> None:
        if self.pid is not None:
            freeze(self.pid)
            self._frozen = True
            self._host.confirm(TaskStatus.PAUSED)

    def _thaw(self) -> bool:
        """Let a frozen process go on; False if it was not frozen."""
        frozen, self._frozen = self._frozen, False
        if frozen and self.pid is not None:
            thaw(self.pid)
        return frozen

    def _serve(self, start: Mapping[str, Any]) -> None:
        try:
            self._channel.send(start)
            serve(self._channel, self._host, partial(relog, self._subtask_id))
        except (EOFError, ConnectionError):
            pass
        except Exception as error:
            log.exception("the plugin's process broke the pipe's rules")
            self._broken = f"broke the pipe's rules: {describe(error)}"
        # Whatever it did, it can be of no further use.
        self.kill()
        self._channel.close()

    def _signal_group(self, number: int) -> None:
        if self.pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)
