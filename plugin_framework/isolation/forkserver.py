"""The process that has a plugin imported, and forks one process for each task.

Started by ``remote_forkserver.py`` with an environment free of secrets; it talks over one Unix
socket, given by file descriptor: ``load`` first, then any number of ``fork``. After ``fork`` comes
one byte that carries two file descriptors. It ends, and all its tasks with it, when the supervisor
is gone.

None of the author's code runs here after the import: what hangs or crashes is a process of its own.

Processes that a task leaves behind become this process's children, and are killed.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import logging
import os
import selectors
import signal
import socket
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from plugin_framework.errors import ConfigurationError, InvalidConfigError
from plugin_framework.isolation.channel import Channel, RemoteHost
from plugin_framework.isolation.memory import oom_kills
from plugin_framework.isolation.session import LINE_LIMIT, run_hooks, run_payment
from plugin_framework.plugin.base import DatahubPlugin, config_schema, parse_config
from plugin_framework.plugin.command import adopt_orphans, die_with_parent
from plugin_framework.plugin.context import Gate, TaskFacts
from plugin_framework.plugin.loader import ExtensionRef, PluginRef, load_extensions
from plugin_framework.plugin.manager import hooks_of


class ForkServer:
    """Serves one supervisor over its control socket."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._channel = Channel(Connection(os.dup(control.fileno())))
        self._plugin: type[DatahubPlugin] = DatahubPlugin
        self._extensions: dict[str, object] = {}
        self._tasks: set[int] = set()
        self._ended: list[dict[str, Any]] = []
        self._oom_kills = oom_kills()
        # Processes that the plugin's module started when it was imported.
        self._imported: set[int] = set()

    def serve(self) -> None:
        """Serve until the supervisor is gone."""
        adopt_orphans()
        wakeup, wakeup_in = socket.socketpair()
        wakeup.setblocking(False)
        wakeup_in.setblocking(False)
        signal.set_wakeup_fd(wakeup_in.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # A terminal or a service manager signals every process; the supervisor decides for all.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(wakeup, selectors.EVENT_READ)
            try:
                self._serve(selector, wakeup)
            finally:
                self._end_all()

    def _serve(self, selector: selectors.BaseSelector, wakeup: socket.socket) -> None:
        while True:
            for key, _ in selector.select():
                if key.fileobj is wakeup:
                    wakeup.recv(4096)
                    self._reap()
                elif not self._handle():
                    return

    def _handle(self) -> bool:
        fds: list[int] = []
        try:
            message = self._channel.receive()
            if "fork" in message:
                _, fds, _, _ = socket.recv_fds(self._control, 1, 2)
        except (EOFError, OSError):
            return False
        if "fork" in message:
            if not fds:
                # Killed between the message and what belongs to it.
                return False
            self._fork(*fds)
        else:
            self._load(message["load"], message["path"], message["extensions"])
        return True

    def _load(
        self, ref: dict[str, Any], path: list[str], extensions: dict[str, dict[str, Any]] | None
    ) -> None:
        sys.path[:] = path
        try:
            self._plugin = plugin = PluginRef(**ref).load()
        except ConfigurationError as error:
            self._send(problems=error.problems, code=error.code)
            return
        self._extensions = load_extensions(
            None
            if extensions is None
            else {name: ExtensionRef(**each) for name, each in extensions.items()}
        )
        self._imported = _children()
        gc.collect()
        gc.freeze()
        self._send(
            isolation=plugin.isolation,
            timeout_seconds=plugin.timeout_seconds,
            pause_mode=plugin.pause_mode,
            hooks=hooks_of(plugin),
            version=plugin.version,
            resources=dict(plugin.resources),
        )

    def _fork(self, channel: int, output: int) -> None:
        os.set_inheritable(channel, False)
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._send(problems=[f"no process can be started: {error.strerror}"])
        else:
            if pid == 0:
                self._channel.close()
                self._control.close()
                _become_leader(output, parent)
                run_child(self._plugin, self._extensions, Connection(channel))
            self._tasks.add(pid)
            self._send(forked=pid)
        os.close(channel)
        os.close(output)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid in self._tasks:
                    self._tasks.discard(pid)
                    self._note_end(pid, os.waitstatus_to_exitcode(status), usage.ru_maxrss)
        if left := _children() - self._tasks - self._imported:
            # Their own ends bring us here again.
            _kill(left)
            return
        while self._ended:
            self._send(**self._ended.pop())

    def _note_end(self, pid: int, code: int, peak_kib: int) -> None:
        kills = oom_kills() if code == -signal.SIGKILL else self._oom_kills
        oom, self._oom_kills = kills > self._oom_kills, kills
        self._ended.append(
            {"exited": pid, "code": code, "peak_kib": peak_kib, "out_of_memory": oom}
        )

    def _end_all(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                _kill(_children() | self._tasks)
                self._tasks.discard(os.wait()[0])

    def _send(self, **message: Any) -> None:
        # If the supervisor is gone, the next read says so.
        with contextlib.suppress(OSError):
            self._channel.send(message)


def _children() -> set[int]:
    """The processes whose parent we are, where the kernel tells (Linux)."""
    try:
        return set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))
    except OSError:
        return set()


def _kill(pids: set[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def run_child(
    plugin: type[DatahubPlugin], extensions: dict[str, object], connection: Connection
) -> NoReturn:
    """Be the plugin process of one task, or one that validates configs."""
    code = 1
    try:
        channel = Channel(connection)
        start = channel.receive()
        if "checks" in start:
            _serve_checks(plugin, channel)
        else:
            _serve_task(plugin, extensions, channel, start)
        code = 0
    except BaseException:  # noqa: BLE001 - the supervisor logs what is printed
        traceback.print_exc()
    finally:
        # Threads and exit handlers that the author's code left behind have no say any more.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)


def _serve_task(
    plugin: type[DatahubPlugin],
    extensions: dict[str, object],
    channel: Channel,
    start: dict[str, Any],
) -> None:
    gate = Gate()
    remote = RemoteHost(channel, lambda name: getattr(gate, name)())
    log = _log_through(remote, start["plugin"], start["log_level"])
    threading.Thread(target=_listen, args=(remote,), daemon=True).start()
    if "payment" in start:
        remote.ended(run_payment(plugin, *start["payment"], log=log, extensions=extensions))
    else:
        run_hooks(
            plugin,
            TaskFacts(**start["facts"]),
            host=remote,
            gate=gate,
            log=log,
            extensions=extensions,
        )


def _serve_checks(plugin: type[DatahubPlugin], channel: Channel) -> None:
    """Validate configs until nobody asks any more."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            message = channel.receive()
            channel.send(_answer(plugin, message))


def _answer(plugin: type[DatahubPlugin], message: dict[str, Any]) -> dict[str, Any]:
    if "schema" in message:
        return {"schema": config_schema(plugin)}
    try:
        parse_config(plugin, message["check"])
    except InvalidConfigError as error:
        return {"problems": error.problems, "code": error.code}
    return {}


def _become_leader(output: int, parent: int) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    die_with_parent()
    if os.getppid() != parent:
        os._exit(1)
    adopt_orphans()
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(null)
    # What was printed must not be lost to a crash. The plugin may have put its own in their place.
    with contextlib.suppress(AttributeError, ValueError):
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # see above
    faulthandler.enable(2)
    if "numpy.random" in sys.modules:
        # All tasks fork from one state; the standard library's random reseeds by itself.
        sys.modules["numpy.random"].seed()


def _listen(remote: RemoteHost) -> None:
    remote.listen()
    # The supervisor is gone: nothing of this task may stay behind.
    os.killpg(0, signal.SIGKILL)


def _log_through(remote: RemoteHost, plugin: str, level: int) -> logging.Logger:
    handler = _RemoteHandler(remote)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    return logging.getLogger(f"datahub.plugin.{plugin}")


class _RemoteHandler(logging.Handler):
    """Hands log records over to the supervisor, as plain JSON."""

    def __init__(self, remote: RemoteHost) -> None:
        super().__init__()
        self._remote = remote

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = self.format(record)[:LINE_LIMIT]
            self._remote.log({"name": record.name, "level": record.levelno, "message": message})
        except Exception:  # noqa: BLE001 - as every logging handler does
            self.handleError(record)


def main(control: int) -> None:
    """Serve on the control socket of that file descriptor; its end-of-file ends us."""
    ForkServer(socket.socket(fileno=control)).serve()
