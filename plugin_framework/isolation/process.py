"""Process isolation: each task's hooks run in a process of their own."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, cast

from plugin_framework.errors import Code, InvalidConfigError, PluginError, PluginLoadError
from plugin_framework.isolation.channel import Channel
from plugin_framework.isolation.check import LATE, Checker, CheckerDiedError, Checkers
from plugin_framework.isolation.output import pump_lines
from plugin_framework.isolation.payment import PaymentHost
from plugin_framework.isolation.process_worker import ProcessWorker
from plugin_framework.isolation.remote_forkserver import Forked, RemoteForkServer
from plugin_framework.isolation.session import TaskHost
from plugin_framework.isolation.worker_exit import WorkerExit
from plugin_framework.plugin.context import TaskFacts
from plugin_framework.plugin.loader import ExtensionRef, PluginRef

log: logging.Logger = logging.getLogger("datahub.isolation")


class ProcessIsolation:
    """A forkserver with the plugin imported. Make it early: importing takes its time.

    ``secrets`` are the names of the environment variables that the plugin must not see, and
    ``extensions`` are made in place of the installed ones. When a forkserver dies, its tasks die
    with it, and it is replaced at the next call.

    Raises:
        PluginLoadError: in a plugin's own process.
        PluginCrashedError: no process can be started.
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
        self._server = RemoteForkServer(ref, secrets, extensions)

    def info(self) -> Mapping[str, Any]:
        """The plugin's ``isolation``, ``timeout_seconds``, ``resources``, ``hooks``, ``version``.

        It waits for the plugin's import.

        Raises:
            PluginLoadError: it cannot be imported.
            PluginCrashedError: no process can be started.
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

    def _fork(self, what: Forked, theirs: socket.socket, output_in: int) -> dict[str, Any]:
        """Fork a process that has these ends; returns what is known of the plugin."""
        try:
            with self._asking:
                server = self._loaded()
                server.fork(what, theirs.fileno(), output_in)
                return server.info()
        finally:
            theirs.close()
            os.close(output_in)

    def close(self) -> None:
        """End the forkserver, and every process it still has."""
        self._checkers.close()
        self._server.close()

    def _loaded(self) -> RemoteForkServer:
        if self._server.gone:
            self._server = RemoteForkServer(self.ref, self._secrets, self._extensions)
        self._server.info()
        return self._server
