"""Process isolation: each task's hooks run in a process of their own."""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import IO, Any

from plugin_framework.errors import InvalidConfigError, PluginCrashedError, PluginLoadError
from plugin_framework.isolation.channel import Channel, serve
from plugin_framework.isolation.session import TaskHost
from plugin_framework.plugin.context import TaskFacts
from plugin_framework.plugin.loader import PluginRef

CALLS_AT_ONCE = 16
LINE_LIMIT = 64 * 1024

log = logging.getLogger("datahub.isolation")


@dataclass(frozen=True, slots=True)
class WorkerExit:
    """How a worker ended: ``code`` as of ``subprocess``, ``peak_kib`` its peak memory."""

    code: int
    peak_kib: int = 0

    def cause(self) -> str:
        """One line on what killed it."""
        peak = f" (peak memory {self.peak_kib / 1024:.0f} MiB)"
        if self.code == -signal.SIGKILL:
            return f"the plugin's process was killed by SIGKILL, perhaps out of memory{peak}"
        if self.code < 0:
            name = signal.Signals(-self.code).name
            return f"the plugin's process was killed by signal {-self.code} ({name}){peak}"
        return f"the plugin's process exited with code {self.code} before its task had ended{peak}"


class ProcessIsolation:
    """A forkserver with the plugin imported. Start it early: importing takes its time.

    ``secrets`` are the names of the environment variables that the plugin must not see.
    """

    def __init__(self, ref: PluginRef, *, secrets: frozenset[str]) -> None:
        self.ref = ref
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._replies: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._workers: dict[int, ProcessWorker] = {}
        self._asking = threading.Lock()
        self._info: dict[str, Any] | None = None
        output, output_in = os.pipe()
        pump_lines(output, f"datahub.plugin.{ref.name}")
        with theirs:
            self._server = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", f"{__package__}.forkserver", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={k: v for k, v in os.environ.items() if k.upper() not in secrets},
                stdin=subprocess.DEVNULL,
                stdout=output_in,
                stderr=output_in,
            )
        os.close(output_in)
        self._control.send(json.dumps({"load": asdict(ref), "path": sys.path}).encode())
        threading.Thread(target=self._listen, daemon=True, name="forkserver").start()

    def info(self) -> Mapping[str, Any]:
        """The plugin's ``isolation`` and ``timeout_seconds``, once it is imported.

        Raises:
            PluginLoadError: it cannot be imported.
        """
        with self._asking:
            if self._info is None:
                self._info = self._reply(PluginLoadError)
            return self._info

    def check(self, config: Mapping[str, Any]) -> None:
        """Validate a config where the plugin is.

        Raises:
            InvalidConfigError: with one line for each field that is wrong.
        """
        self.info()
        with self._asking:
            self._control.send(json.dumps({"check": dict(config)}).encode())
            self._reply(InvalidConfigError)

    def start(
        self, facts: TaskFacts, host: TaskHost, on_exit: Callable[[WorkerExit], None]
    ) -> ProcessWorker:
        """Fork a process for a task; ``on_exit`` is called, from a thread, when it has ended."""
        self.info()
        ours, theirs = socket.socketpair()
        output, output_in = os.pipe()
        with theirs, self._asking:
            socket.send_fds(self._control, [b'{"fork": true}'], [theirs.fileno(), output_in])
            pid = self._reply(PluginCrashedError)["forked"]
            os.close(output_in)
            pump = pump_lines(output, f"datahub.plugin.{self.ref.name}")
            channel = Channel(Connection(ours.detach()))
            worker = self._workers[pid] = ProcessWorker(pid, channel, pump, on_exit)
        worker.serve(facts, host, self.ref.name)
        return worker

    def close(self) -> None:
        """End the forkserver, and every process it still has."""
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        self._server.wait()
        self._control.close()

    def _reply(self, error: type[PluginLoadError | InvalidConfigError | PluginCrashedError]) -> Any:
        reply = self._replies.get()
        if "problems" in reply:
            raise error(reply["problems"])
        return reply

    def _listen(self) -> None:
        while True:
            try:
                data = self._control.recv(1024 * 1024)
            except OSError:
                data = b""
            if not data:
                break
            message = json.loads(data)
            if "exited" in message:
                worker = self._workers.pop(message["exited"])
                worker.exited(WorkerExit(message["code"], message["peak_kib"]))
            else:
                self._replies.put(message)
        self._replies.put({"problems": [f"importing plugin {self.ref.name} ended its process"]})
        for worker in list(self._workers.values()):
            worker.exited(WorkerExit(-signal.SIGKILL))


class ProcessWorker:
    """The process of one task."""

    def __init__(
        self,
        pid: int,
        channel: Channel,
        output: threading.Thread,
        on_exit: Callable[[WorkerExit], None],
    ) -> None:
        self.pid = pid
        self._channel = channel
        self._output = output
        self._on_exit = on_exit
        self._pool = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="host")
        self._served = threading.Thread(target=lambda: None)

    def serve(self, facts: TaskFacts, host: TaskHost, plugin: str) -> None:
        """Tell the process what to do, and answer it from a thread."""
        level = logging.getLogger("datahub").getEffectiveLevel()
        start = {"facts": asdict(facts), "plugin": plugin, "log_level": level}
        self._served = threading.Thread(
            target=self._serve, args=(start, host), daemon=True, name=f"serve-{self.pid}"
        )
        self._served.start()

    def signal(self, name: str) -> None:
        """Pass on ``pause``, ``resume`` or ``cancel``."""
        with suppress(OSError):
            self._channel.send({"signal": name})

    def terminate(self) -> None:
        """Ask the process group to end (SIGTERM)."""
        self._signal_group(signal.SIGTERM)

    def kill(self) -> None:
        """End the process group (SIGKILL)."""
        self._signal_group(signal.SIGKILL)

    def exited(self, how: WorkerExit) -> None:
        """Called when the process is gone: end its group, drain its output, tell the runner."""
        self.kill()
        self._output.join(timeout=2)
        self._served.join(timeout=2)
        self._pool.shutdown(wait=False)
        self._on_exit(how)

    def _serve(self, start: dict[str, Any], host: TaskHost) -> None:
        try:
            self._channel.send(start)
            serve(self._channel, host, self._pool, _relog)
        except OSError:
            return
        except (ValueError, KeyError, TypeError, RuntimeError):
            log.exception("the plugin's process broke the pipe's rules")
            self.kill()

    def _signal_group(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def _relog(record: dict[str, Any]) -> None:
    logging.getLogger(str(record["name"])).log(int(record["level"]), "%s", record["message"])


def pump_lines(fd: int, name: str) -> threading.Thread:
    """Log what is printed into a pipe, line by line, until its last writer is gone."""
    thread = threading.Thread(
        target=_pump,
        args=(os.fdopen(fd, "rb"), logging.getLogger(name)),
        daemon=True,
        name="output",
    )
    thread.start()
    return thread


def _pump(pipe: IO[bytes], logger: logging.Logger) -> None:
    with pipe:
        while line := pipe.readline(LINE_LIMIT):
            text = line.decode(errors="replace").rstrip()
            if text:
                logger.info("%s", text)
