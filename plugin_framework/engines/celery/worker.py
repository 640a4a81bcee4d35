"""A worker: a process that runs the subtasks of its plugins as the broker hands them out."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any, NoReturn

from amqp.exceptions import PreconditionFailed
from celery.exceptions import Reject

from plugin_framework.engines.celery.app import make_app
from plugin_framework.engines.celery.broker import Broker
from plugin_framework.engines.celery.consumer_timeout import learn, timeout_in
from plugin_framework.engines.celery.machine import FLUSH_SECONDS, Machine
from plugin_framework.engines.celery.publisher import Outgoing, Publisher
from plugin_framework.engines.celery.queues import queue_of
from plugin_framework.engines.celery.starting import (
    Plugins,
    Retry,
    prepare,
    settings_of_a_worker,
)
from plugin_framework.engines.cluster.attempt import Done, Fate, run_attempt
from plugin_framework.engines.cluster.holding import Holdings
from plugin_framework.engines.cluster.leftovers import Leftovers
from plugin_framework.engines.cluster.message import Message
from plugin_framework.engines.cluster.node import Node
from plugin_framework.engines.cluster.records import Offer
from plugin_framework.engines.cluster.resources import common_slots
from plugin_framework.engines.cluster.store import open_store
from plugin_framework.engines.local import engines_of
from plugin_framework.errors import Code, DatahubError, Problem
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.settings import Settings

PAUSE_SECONDS = 5.0
"""Before a message is given back that met an error of ours."""

log: logging.Logger = logging.getLogger("datahub.worker")


def work(
    names: Sequence[str],
    settings: Settings,
    offer: Offer,
    *,
    name: str,
    observers: Mapping[str, object],
) -> int:
    """Run subtasks of these plugins until SIGTERM or SIGINT; returns the exit code.

    For the main thread. ``name`` is the node's, and ``observers`` are told of its subtasks.

    Raises:
        ConfigurationError: the plugins, the settings, the broker or the store cannot be used.
        BrokerUnavailableError, StoreUnreachableError: not reached within ``STARTUP_DEADLINE``.
        JournalError: the journal cannot be used.
    """
    _quieten_celery()
    settings = settings_of_a_worker(settings)
    with ExitStack() as made:
        plugins = Plugins(engines_of(made, names, settings, observers=observers), offer)
        broker = Broker(settings)
        retry = Retry(settings.startup_deadline)
        store = made.enter_context(
            closing(retry.until_there(lambda: open_store(settings, plugins.journal)))
        )
        retry.until_there(lambda: prepare(broker, plugins, settings, store))
        holdings = made.enter_context(closing(Holdings(store, settings.lease_seconds)))
        node = Node(
            name,
            engine="celery",
            settings=settings,
            store=store,
            holdings=holdings,
            engines=plugins.served,
            plugins=plugins.versions,
            offer=offer,
            slots=common_slots(
                [plugins.needs[each] for each in plugins.served], offer, settings.max_concurrency
            ),
        )
        retry.until_there(node.open)
        made.callback(node.close)
        made.enter_context(closing(Leftovers(settings.state_dir, store)))
        return _Worker(node, broker, plugins.queues).run()


class _Worker:
    """Celery's machine and the node together."""

    def __init__(self, node: Node, broker: Broker, queues: Mapping[str, str]) -> None:
        self._node = node
        self._queues = queues
        self._told_to_end = False
        self._drained, self._ended = threading.Event(), threading.Event()
        app = make_app(node.settings, [queue_of(each) for each in queues.values()], name=node.name)
        self._publisher = Publisher(broker, app, f"{node.name} gives back")
        self._machine = Machine(
            app,
            node.name,
            tuple(queues.values()),
            broker,
            slots=node.slots,
            run=self._run,
            manage=self._manage,
            draining=node.draining,
            refused=self._refused,
            ready=self._say_ready,
        )

    def run(self) -> int:
        """Run messages until a signal comes, and what runs has ended or was given back."""
        with _signals(self._on_signal), closing(self._publisher):
            self._machine.start()
        self._ended.set()
        return self._machine.exitcode or os.EX_OK

    def _say_ready(self) -> None:
        plugins, slots = ", ".join(self._queues), self._node.slots
        log.info("%s takes subtasks of %s, %d at a time", self._node.name, plugins, slots)

    # Messages, each in a thread of Celery's

    def _run(self, fields: Mapping[str, Any], redelivered: bool) -> None:  # noqa: FBT001 - Machine's contract
        try:
            message = Message.read(fields)
        except ValueError as error:
            log.error("a message that is not ours is dropped: %s", error)  # noqa: TRY400 - no bug
            return
        with self._node.attempting(message.subtask_id):
            done = self._attempt(message, redelivered=redelivered)
            if done.fate is Fate.BACK:
                self._node.draining.wait(done.pause)
                self._give_back(message)

    def _attempt(self, message: Message, *, redelivered: bool) -> Done:
        try:
            return run_attempt(self._node, message, redelivered=redelivered)
        except Exception:
            log.exception("subtask %s: an internal error", message.subtask_id)
            return Done(Fate.BACK, PAUSE_SECONDS)

    def _give_back(self, message: Message) -> None:
        """Put it at the end of its queue; if that fails, have the broker hand it out again."""
        outgoing = Outgoing(self._queues[message.plugin], message)
        error = self._publisher.publish([outgoing])[message.subtask_id]
        if error is not None:
            log.warning("subtask %s is given back in place: %s", message.subtask_id, error)
            raise Reject(str(error), requeue=True)
        # Else it is said why, and that is enough for what goes round.
        level = logging.INFO if self._node.draining.is_set() else logging.DEBUG
        log.log(level, "subtask %s is handed back to the queue", message.subtask_id)

    # Control, in Celery's loop

    def _manage(self, fields: Mapping[str, Any]) -> None:
        try:
            told = str(fields["subtask_id"]), TaskStatus(fields["status"])
        except (KeyError, ValueError):
            log.warning("a command that is not ours is ignored")
            return
        # A run may be busy, and the loop is everybody's.
        threading.Thread(target=self._node.control, args=told, daemon=True, name="control").start()

    def _refused(self, error: PreconditionFailed) -> bool:
        milliseconds = timeout_in(error)
        if milliseconds is None:
            return False
        told = (
            f"RabbitMQ's consumer_timeout of {milliseconds / 1000:g} s is over for a subtask that"
            " runs: others take it over if it is lost here, and this worker ends when it is done"
        )
        log.critical("%s", Problem(told, Code.CONSUMER_TIMEOUT_SHORT))
        self._node.draining.set()
        try:
            learn(self._node.store, self._node.settings, milliseconds)
        except DatahubError as failure:
            log.warning("the others are not told of it: %s", failure)
        return True

    # The end, in a thread of its own for each signal

    def _on_signal(self, number: int) -> None:
        if self._told_to_end:
            if self._drained.is_set():
                self._leave("the broker is told no more")
            self._node.hurry(number)
            return
        self._told_to_end = True
        log.info("%s: no more subtasks are taken", signal.Signals(number).name)
        self._node.draining.set()
        threading.Thread(target=self._drain, args=(number,), daemon=True, name="drain").start()

    def _drain(self, number: int) -> None:
        self._machine.stop_consuming()
        if not self._node.drain(number):
            self._leave("subtasks that have not ended go on elsewhere")
        self._drained.set()
        self._machine.end()
        if not self._ended.wait(FLUSH_SECONDS):
            self._leave("the broker does not answer, and is not waited for")

    def _leave(self, why: str) -> NoReturn:
        """End the process, whatever its threads wait for."""
        log.warning("%s", why)
        logging.shutdown()
        os._exit(self._machine.exitcode or os.EX_OK)


@contextmanager
def _signals(act: Callable[[int], None]) -> Iterator[None]:
    """Have a thread call ``act`` for each SIGTERM and SIGINT.

    Not a handler, which may interrupt any line of the main thread, one that holds a lock too.
    """
    received, wakeup = socket.socketpair()
    wakeup.setblocking(False)

    def listen() -> None:
        while numbers := received.recv(64):
            for number in numbers:
                if number in {signal.SIGTERM, signal.SIGINT}:
                    act(number)

    threading.Thread(target=listen, daemon=True, name="signals").start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave_to_thread)
    before = signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        wakeup.close()
        received.close()


def _leave_to_thread(_number: int, _frame: object) -> None:
    """Without a handler of Python's, nothing is written to the wakeup descriptor."""


class _NotAgain(logging.Filter):
    """Leaves out of Celery's log what is no trouble here, or has been said."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is worth a line; logging's contract."""
        if str(record.msg).startswith("Couldn't ack"):
            log.info("a message could not be acknowledged: it comes again, to be found done with")
            return False
        return True


def _quieten_celery() -> None:
    for name in ("amqp", "celery", "kombu"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # That the broker is away is said by us.
    logging.getLogger("celery.worker.consumer.consumer").setLevel(logging.ERROR)
    logging.getLogger("celery.worker.request").addFilter(_NotAgain())
