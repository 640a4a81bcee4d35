"""Thread isolation: a task's hooks run in a thread of the supervisor.

Cheaper than a process, for plugins that mostly wait. A crash of the plugin is a crash of the
supervisor, and a hook that never returns cannot be killed: it is left behind.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from plugin_framework.errors import Code, InvalidConfigError
from plugin_framework.isolation.check import CHECK_SECONDS, LATE
from plugin_framework.isolation.payment import PaymentHost
from plugin_framework.isolation.session import TaskHost, run_hooks, run_payment
from plugin_framework.isolation.worker_exit import WorkerExit
from plugin_framework.plugin.base import DatahubPlugin, config_schema, parse_config
from plugin_framework.plugin.context import Gate, TaskFacts
from plugin_framework.plugin.loader import PluginRef, load_extensions
from plugin_framework.plugin.manager import hooks_of

T = TypeVar("T")


class ThreadIsolation:
    """The plugin imported in this process; ``extensions`` are in place of the installed ones."""

    def __init__(
        self,
        ref: PluginRef,
        plugin: type[DatahubPlugin] | None = None,
        extensions: Mapping[str, object] | None = None,
    ) -> None:
        self.ref = ref
        self._plugin = plugin or ref.load()
        self._extensions = load_extensions() if extensions is None else extensions

    def info(self) -> Mapping[str, Any]:
        """See ``ProcessIsolation``: the same."""
        return {
            "hooks": hooks_of(self._plugin),
            "version": self._plugin.version,
            "resources": dict(self._plugin.resources),
            "isolation": self._plugin.isolation,
            "timeout_seconds": self._plugin.timeout_seconds,
        }

    def check(self, config: Mapping[str, Any]) -> None:
        """Validate a config.

        Raises:
            InvalidConfigError: with one line for each field that is wrong, or its validation did
                not end.
        """
        try:
            _within(lambda: parse_config(self._plugin, config))
        except TimeoutError:
            raise InvalidConfigError(LATE, code=Code.CONFIG_CHECK_FAILED) from None

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the plugin's config; an empty one where it has none."""
        try:
            return _within(lambda: config_schema(self._plugin))
        except TimeoutError:
            return {}

    def start(
        self, facts: TaskFacts, host: TaskHost, on_exit: Callable[[WorkerExit], None]
    ) -> ThreadWorker:
        """Start a thread for a task; ``on_exit`` is called from it when it has ended."""
        log = _TaskLogger(f"datahub.plugin.{self.ref.name}", facts.subtask_id)
        gate = Gate()

        def run() -> None:
            try:
                run_hooks(
                    self._plugin, facts, host=host, gate=gate, log=log, extensions=self._extensions
                )
            except BaseException:
                log.exception("the task of subtask %s broke off", facts.subtask_id)
            finally:
                on_exit(WorkerExit(0))

        threading.Thread(target=run, daemon=True, name=f"task-{facts.subtask_id}").start()
        return ThreadWorker(gate, on_exit)

    def payment(self, tx_hash: str, subtask_id: str, *, seconds: float) -> bool:
        """Ask the plugin, in a thread of its own, whether a payment is accepted.

        Raises:
            PluginError: the hook failed, or took longer than ``seconds``.
        """
        log = logging.getLogger(f"datahub.plugin.{self.ref.name}")
        host = PaymentHost()

        def ask() -> None:
            host.ended(
                run_payment(self._plugin, tx_hash, subtask_id, log=log, extensions=self._extensions)
            )

        threading.Thread(target=ask, daemon=True, name=f"payment-{subtask_id}").start()
        return host.accepted(seconds)

    def close(self) -> None:
        """Nothing to close."""


def _within(call: Callable[[], T]) -> T:
    """What a call returns; TimeoutError after ``CHECK_SECONDS``: its thread is left behind."""
    returned: Future[T] = Future()

    def run() -> None:
        try:
            returned.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            returned.set_exception(error)

    threading.Thread(target=run, daemon=True, name="check").start()
    return returned.result(CHECK_SECONDS)


class _TaskLogger(logging.Logger):
    """The plugin's logger, whose records say which subtask they are of."""

    def __init__(self, name: str, subtask_id: str) -> None:
        super().__init__(name)
        self.parent = logging.getLogger(name)
        self._subtask_id = subtask_id

    def handle(self, record: logging.LogRecord) -> None:
        """Pass a record on; logging's contract."""
        record.subtask_id = self._subtask_id
        super().handle(record)


class ThreadWorker:
    """The thread of one task."""

    def __init__(self, gate: Gate, on_exit: Callable[[WorkerExit], None]) -> None:
        self._gate = gate
        self._on_exit = on_exit

    def signal(self, name: str) -> None:
        """Pass on ``pause``, ``resume``, ``cancel`` or ``fail``."""
        getattr(self._gate, name)()

    def terminate(self) -> None:
        """A thread cannot be asked twice: the cancel stands."""

    def kill(self) -> None:
        """A thread cannot be killed: the task ends without it."""
        self._on_exit(WorkerExit(0))
