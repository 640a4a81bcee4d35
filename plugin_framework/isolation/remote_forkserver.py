"""The forkserver, as seen from the supervisor."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from plugin_framework.errors import Code, PluginCrashedError, PluginLoadError
from plugin_framework.isolation.channel import Channel
from plugin_framework.isolation.output import pump_lines
from plugin_framework.isolation.worker_exit import WorkerExit, ending_of
from plugin_framework.plugin.loader import ExtensionRef, PluginRef

CLOSE_SECONDS = 2.0
"""How long a forkserver may take to end its tasks and itself."""

# Not ``-m``, which would let files of the current folder stand in for the standard library's.
_BOOT = (
    "import sys; sys.path.append(sys.argv[2]);"
    " from plugin_framework.isolation.forkserver import main; main(int(sys.argv[1]))"
)
_ROOT = str(Path(__file__).parents[2])


class Forked(Protocol):
    """What stands for a process; ``pid`` is set when it is forked."""

    pid: int | None

    def exited(self, how: WorkerExit) -> None:
        """The process is gone."""


class RemoteForkServer:
    """One forkserver process. One thread at a time may ask; ``gone`` says that it has ended.

    Raises:
        PluginCrashedError: it cannot be started.
    """

    def __init__(
        self, ref: PluginRef, secrets: frozenset[str], extensions: Mapping[str, ExtensionRef] | None
    ) -> None:
        self.gone: bool = False
        self._name = ref.name
        self._replies: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._info: dict[str, Any] | None = None
        self._starting: Forked | None = None
        self._workers: dict[int, Forked] = {}
        self._control, theirs = socket.socketpair()
        self._channel = Channel(Connection(os.dup(self._control.fileno())))
        output, output_in = os.pipe()
        pump_lines(output, f"datahub.plugin.{ref.name}")
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-c", _BOOT, str(theirs.fileno()), _ROOT],
                pass_fds=[theirs.fileno()],
                env={k: v for k, v in os.environ.items() if k.upper() not in secrets},
                stdin=subprocess.DEVNULL,
                stdout=output_in,
                stderr=output_in,
                # A terminal signals whole groups; the supervisor decides for all.
                start_new_session=True,
            )
        except OSError as error:
            self._channel.close()
            self._control.close()
            raise PluginCrashedError(f"no process can be started: {error.strerror}") from None
        finally:
            theirs.close()
            os.close(output_in)
        with suppress(OSError):
            self._channel.send(
                {"load": asdict(ref), "path": sys.path, "extensions": _as_json(extensions)}
            )
        self._listener = threading.Thread(target=self._listen, daemon=True, name="forkserver")
        self._listener.start()

    def info(self) -> dict[str, Any]:
        """What is known of the plugin, once it is imported.

        Raises:
            PluginLoadError: it cannot be.
        """
        if self._info is None:
            try:
                self._info = self._reply()
            except PluginCrashedError as error:
                raise PluginLoadError(
                    f"plugin {self._name} cannot be imported: {error}",
                    code=Code.PLUGIN_NOT_IMPORTED,
                ) from None
        if "problems" in self._info:
            raise PluginLoadError(self._info["problems"], code=Code(self._info["code"]))
        return self._info

    def fork(self, worker: Forked, channel: int, output: int) -> None:
        """Fork a process that has these ends, by file descriptor, and give ``worker`` its pid.

        Raises:
            PluginCrashedError: no process can be started.
        """
        self._starting = worker
        # If it is gone, the listener replies.
        with suppress(OSError):
            self._channel.send({"fork": True})
            socket.send_fds(self._control, [b"+"], [channel, output])
        reply = self._reply()
        if "problems" in reply:
            raise PluginCrashedError("; ".join(reply["problems"]))

    def close(self) -> None:
        """End it, and every process it still has."""
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        self._listener.join()

    def _reply(self) -> dict[str, Any]:
        reply = self._replies.get()
        if "gone" in reply:
            self._replies.put(reply)
            raise PluginCrashedError(str(reply["gone"]))
        return reply

    def _listen(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                message = self._channel.receive()
                if "exited" in message:
                    how = WorkerExit(message["code"], message["peak_kib"], message["out_of_memory"])
                    self._workers.pop(message["exited"]).exited(how)
                    continue
                if "forked" in message and self._starting is not None:
                    self._starting.pid = message["forked"]
                    self._workers[message["forked"]] = self._starting
                self._replies.put(message)
        self._ended()

    def _ended(self) -> None:
        """It is gone, and its processes with it."""
        self.gone = True
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._channel.close()
        self._control.close()
        reason = (
            "ended with the process that had the plugin imported,"
            f" which {ending_of(self._process.returncode)}"
        )
        for pid, worker in self._workers.items():
            # In a container's first process they have become our children, and died.
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
            worker.exited(WorkerExit(-signal.SIGKILL, reason=reason))
        cause = f"the process that has it imported ended with code {self._process.returncode}"
        self._replies.put({"gone": cause})


def _as_json(extensions: Mapping[str, ExtensionRef] | None) -> dict[str, Any] | None:
    if extensions is None:
        return None
    return {name: asdict(each) for name, each in extensions.items()}
