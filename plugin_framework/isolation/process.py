"""Process isolation: each task's hooks run in a process of their own."""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, Protocol, cast

from plugin_framework.errors import (
    Code,
    InvalidConfigError,
    PluginCrashedError,
    PluginError,
    PluginLoadError,
)
from plugin_framework.isolation.channel import Channel, serve
from plugin_framework.isolation.check import LATE, Checker, CheckerDiedError, Checkers
from plugin_framework.isolation.freeze import freeze, thaw
from plugin_framework.isolation.payment import PaymentHost
from plugin_framework.isolation.session import LINE_LIMIT, TaskHost, describe
from plugin_framework.plugin.command import signal_name
from plugin_framework.plugin.context import TaskFacts
from plugin_framework.plugin.loader import ExtensionRef, PluginRef
from plugin_framework.protocol.models import TaskStatus

CLOSE_SECONDS = 2.0
"""How long a forkserver may take to end its tasks and itself."""

DRAIN_SECONDS = 2.0
"""How long what an ended process has sent and printed may take to be read."""

# Not ``-m``, which would let files of the current folder stand in for the standard library's.
_BOOT = (
    "import sys; sys.path.append(sys.argv[2]);"
    " from plugin_framework.isolation.forkserver import main; main(int(sys.argv[1]))"
)
_ROOT = str(Path(__file__).parents[2])

log: logging.Logger = logging.getLogger("datahub.isolation")


@dataclass(frozen=True, slots=True)
class WorkerExit:
    """How a worker ended: ``code`` as of ``subprocess``, ``peak_kib`` its peak memory.

    ``out_of_memory``: the kernel says that it has just ended a process for that. ``reason``: what
    it did, or what became of it, where that is known and the code does not tell.
    """

    code: int
    peak_kib: int = 0
    out_of_memory: bool = False
    reason: str | None = None

    def cause(self) -> str:
        """One line on what killed it."""
        peak = f" (peak memory {self.peak_kib / 1024:.0f} MiB)" if self.peak_kib else ""
        if self.reason is not None:
            return f"the plugin's process {self.reason}{peak}"
        if self.code == -signal.SIGKILL and self.out_of_memory:
            return f"the plugin's process ran out of memory, and the kernel killed it{peak}"
        if self.code == -signal.SIGKILL:
            return f"the plugin's process was killed by SIGKILL, perhaps out of memory{peak}"
        too_early = " before its task had ended" if self.code >= 0 else ""
        return f"the plugin's process {_ended(self.code)}{too_early}{peak}"


def _ended(code: int) -> str:
    if code < 0:
        return f"was killed by signal {-code} ({signal_name(-code)})"
    return f"exited with code {code}"


class ProcessIsolation:
    """A forkserver with the plugin imported. Make it early: importing takes its time.

    ``secrets`` are the names of the environment variables that the plugin must not see, and
    ``extensions`` are made in place of the installed ones. When a forkserver dies, its tasks die
    with it, and it is replaced at the next call.

    Raises:
        PluginLoadError: in a plugin's own process.
    """

    def __init__(
        self,
        ref: PluginRef,
        *,
        secrets: frozenset[str],
        extensions: Mapping[str, ExtensionRef] | None = None,
    ) -> None:
        if f"{__package__}.forkserver" in sys.modules:
            # Else each process would import the script, and start the next one.
            raise PluginLoadError(
                "a plugin's process cannot run tasks: put what the script is to run under"
                ' if __name__ == "__main__":',
                code=Code.NO_MAIN_GUARD,
            )
        self.ref = ref
        self._secrets = secrets
        self._asking = threading.Lock()
        self._extensions = extensions
        self._checkers = Checkers(self._checker)
        self._server = _Server(ref, secrets, self._extensions)

    def info(self) -> Mapping[str, Any]:
        """The plugin's ``isolation``, ``timeout_seconds``, ``resources``, ``hooks``, ``version``.

        It waits for the plugin's import.

        Raises:
            PluginLoadError: it cannot be imported.
        """
        with self._asking:
            return self._loaded().info()

    def check(self, config: Mapping[str, Any]) -> None:
        """Validate a config where the plugin is, beside whatever else is validated.

        Raises:
            PluginLoadError: the plugin cannot be imported.
            PluginCrashedError: no process can be started.
            InvalidConfigError: with one line for each field that is wrong, or with what became of
                its validation.
        """
        try:
            reply = self._checkers.ask({"check": dict(config)})
        except TimeoutError:
            raise InvalidConfigError(LATE, code=Code.CONFIG_CHECK_FAILED) from None
        except CheckerDiedError as error:
            raise InvalidConfigError(
                f"config: it cannot be validated: {error}", code=Code.CONFIG_CHECK_FAILED
            ) from None
        if "problems" in reply:
            raise InvalidConfigError(reply["problems"], code=Code(reply["code"]))

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the plugin's config; an empty one where it has none.

        Raises:
            PluginLoadError: the plugin cannot be imported.
            PluginCrashedError: no process can be started.
        """
        try:
            schema: dict[str, Any] = self._checkers.ask({"schema": True})["schema"]
        except (TimeoutError, CheckerDiedError) as error:
            log.warning("plugin %s: its config has no schema: %r", self.ref.name, error)
            return {}
        return schema

    def start(
        self, facts: TaskFacts, host: TaskHost, on_exit: Callable[[WorkerExit], None]
    ) -> ProcessWorker:
        """Fork a process for a task; ``on_exit`` is called, from a thread, when it has ended.

        Raises:
            PluginLoadError: the plugin cannot be imported.
            PluginCrashedError: no process can be started.
        """
        return self._start(facts.subtask_id, {"facts": facts.as_json()}, host, on_exit)

    def payment(self, tx_hash: str, subtask_id: str, *, seconds: float) -> bool:
        """Ask the plugin whether a payment is accepted, in a process of its own.

        Raises:
            PluginError: the hook failed, or took longer than ``seconds``.
            PluginCrashedError: its process died, or could not be started.
            PluginLoadError: the plugin cannot be imported.
        """
        host = PaymentHost()
        # All that it may ask for is to be heard.
        what = {"payment": (tx_hash, subtask_id)}
        worker = self._start(subtask_id, what, cast(TaskHost, host), host.exited)
        try:
            return host.accepted(seconds)
        except PluginError:
            worker.kill()
            raise

    def _start(
        self,
        subtask_id: str,
        what: Mapping[str, Any],
        host: TaskHost,
        on_exit: Callable[[WorkerExit], None],
    ) -> ProcessWorker:
        level = logging.getLogger("datahub").getEffectiveLevel()
        start = {**what, "plugin": self.ref.name, "log_level": level}
        ours, theirs = socket.socketpair()
        output, output_in = os.pipe()
        pump = pump_lines(output, f"datahub.plugin.{self.ref.name}", subtask_id)
        channel = Channel(Connection(ours.detach()))
        worker = ProcessWorker(subtask_id, channel, pump, host, on_exit)
        worker.serve(start)
        worker.freezes = self._fork(worker, theirs, output_in)["pause_mode"] == "freeze"
        return worker

    def _checker(self) -> Checker:
        ours, theirs = socket.socketpair()
        output, output_in = os.pipe()
        pump_lines(output, f"datahub.plugin.{self.ref.name}")
        checker = Checker(Connection(ours.detach()))
        self._fork(checker, theirs, output_in)
        checker.start()
        return checker

    def _fork(self, what: _Forked, theirs: socket.socket, output_in: int) -> dict[str, Any]:
        """Fork a process that has these ends; returns what is known of the plugin."""
        try:
            with self._asking:
                server = self._loaded()
                server.fork(what, [theirs.fileno(), output_in])
                return server.info()
        finally:
            theirs.close()
            os.close(output_in)

    def close(self) -> None:
        """End the forkserver, and every process it still has."""
        self._checkers.close()
        self._server.close()

    def _loaded(self) -> _Server:
        if self._server.gone:
            self._server = _Server(self.ref, self._secrets, self._extensions)
        self._server.info()
        return self._server


class _Forked(Protocol):
    """What stands for a process; ``pid`` is set when it is forked."""

    pid: int | None

    def exited(self, how: WorkerExit) -> None:
        """The process is gone."""


class _Server:
    """One forkserver process. One thread at a time may ask."""

    def __init__(
        self, ref: PluginRef, secrets: frozenset[str], extensions: Mapping[str, ExtensionRef] | None
    ) -> None:
        self.gone = False
        self._name = ref.name
        self._replies: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._info: dict[str, Any] | None = None
        self._starting: _Forked | None = None
        self._workers: dict[int, _Forked] = {}
        self._control, theirs = socket.socketpair()
        self._channel = Channel(Connection(os.dup(self._control.fileno())))
        output, output_in = os.pipe()
        pump_lines(output, f"datahub.plugin.{ref.name}")
        with theirs:
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
        os.close(output_in)
        with suppress(OSError):
            self._channel.send(
                {"load": asdict(ref), "path": sys.path, "extensions": _as_json(extensions)}
            )
        self._listener = threading.Thread(target=self._listen, daemon=True, name="forkserver")
        self._listener.start()

    def info(self) -> dict[str, Any]:
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

    def ask(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> dict[str, Any]:
        # If it is gone, the listener replies.
        with suppress(OSError):
            self._channel.send(message)
            if fds:
                socket.send_fds(self._control, [b"+"], fds)
        return self._reply()

    def fork(self, worker: _Forked, fds: Sequence[int]) -> None:
        self._starting = worker
        reply = self.ask({"fork": True}, fds)
        if "problems" in reply:
            raise PluginCrashedError("; ".join(reply["problems"]))

    def close(self) -> None:
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
            f" which {_ended(self._process.returncode)}"
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
            serve(self._channel, self._host, partial(_relog, self._subtask_id))
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


def _relog(subtask_id: str, record: dict[str, Any]) -> None:
    # A lone surrogate would break the handlers that write it.
    message = str(record["message"]).encode(errors="replace").decode()
    logger = logging.getLogger(str(record["name"]))
    logger.log(int(record["level"]), "%s", message, extra={"subtask_id": subtask_id})


def pump_lines(fd: int, name: str, subtask_id: str | None = None) -> threading.Thread:
    """Log what is printed into a pipe, line by line, until its last writer is gone."""
    thread = threading.Thread(
        target=_pump,
        args=(os.fdopen(fd, "rb"), logging.getLogger(name), subtask_id),
        daemon=True,
        name="output",
    )
    thread.start()
    return thread


def _pump(pipe: IO[bytes], logger: logging.Logger, subtask_id: str | None) -> None:
    with pipe:
        while line := pipe.readline(LINE_LIMIT):
            text = line.decode(errors="replace").rstrip()
            if text:
                logger.info("%s", text, extra={"subtask_id": subtask_id})
