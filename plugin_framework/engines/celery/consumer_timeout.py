"""How long RabbitMQ leaves a message with a worker that has not acknowledged it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass

from amqp.exceptions import PreconditionFailed

from plugin_framework.engines.celery.broker import Broker
from plugin_framework.engines.celery.queues import CONSUMER_TIMEOUT_MS
from plugin_framework.engines.cluster.store import LeaseStore
from plugin_framework.errors import Code, Problem
from plugin_framework.settings import Settings

DEFAULT_SECONDS = 1800.0
"""RabbitMQ's own."""

_FACT = "consumer_timeout"
_ASKED_BY_CONSUMERS = (3, 12)
_SPARE_SECONDS = 600
_TOOL_SECONDS = 10
_NAME_SERVER_PORT = "4369"
_PASSED_ON = ("HOME", "LANG", "PATH", "USER")
_QUESTION = (
    "{application:get_env(rabbit, consumer_timeout),"
    " [element(6, Listener) || Listener <- rabbit_networking:active_listeners()]}."
)


@dataclass(frozen=True, slots=True)
class ConsumerTimeout:
    """After how many ``seconds`` a subtask is taken from its worker; None: never.

    ``source`` says how that is known, for people.
    """

    seconds: float | None
    source: str


def consumer_timeout(
    broker: Broker, version: tuple[int, int], settings: Settings, store: LeaseStore
) -> ConsumerTimeout:
    """What counts for our consumers at a broker of that version.

    Before 3.12 a broker does not tell it to its clients: rabbitmqctl does, where there is one, and
    the broker itself when it takes a message away. A worker has then had the others learn it; until
    DATAHUB_CONSUMER_TIMEOUT is set to another value, for whoever changes the one changes the other.

    Raises:
        StoreUnreachableError: it is not known what was learnt.
    """
    if version >= _ASKED_BY_CONSUMERS:
        return ConsumerTimeout(CONSUMER_TIMEOUT_MS / 1000, "as our consumers ask for")
    if broker.on_this_machine and (told := _told_by_tool(broker)):
        return told
    fact = store.known(_FACT)
    if fact and fact["setting"] == settings.consumer_timeout:
        return ConsumerTimeout(fact["milliseconds"] / 1000, "as RabbitMQ said to a worker")
    return ConsumerTimeout(settings.consumer_timeout or None, "as DATAHUB_CONSUMER_TIMEOUT says")


def learn(store: LeaseStore, settings: Settings, milliseconds: int) -> None:
    """Let the others know what RabbitMQ has said.

    Raises:
        StoreUnreachableError: they do not.
    """
    fact = {"milliseconds": milliseconds, "setting": settings.consumer_timeout}
    store.learn(_FACT, fact)


def timeout_in(error: PreconditionFailed) -> int | None:
    """The milliseconds after which a message was taken away, if that is what RabbitMQ says."""
    found = re.search(r"acknowledgement.*timed out.*?(\d+) ms", str(error.reply_text), re.DOTALL)
    return int(found[1]) if found else None


def too_short(timeout: ConsumerTimeout, plugin: str, limit: float, grace: float) -> Problem | None:
    """Why subtasks of a plugin cannot be run, if they cannot.

    They may take ``limit`` seconds, 0 for any time, and ``grace`` seconds to be ended after that.
    """
    if timeout.seconds is None or timeout.seconds >= (limit + grace if limit else DEFAULT_SECONDS):
        return None
    longest = f"may run {limit:g} s" if limit else "has no time limit"
    least = (limit + _SPARE_SECONDS if limit else DEFAULT_SECONDS) * 1000
    return Problem(
        f"plugin {plugin} {longest}, but RabbitMQ takes a subtask away after {timeout.seconds:g} s"
        f" ({timeout.source}): raise consumer_timeout in rabbitmq.conf to at least {least:.0f} ms,"
        " or set the plugin's timeout_seconds below it",
        Code.CONSUMER_TIMEOUT_SHORT,
    )


def warning(timeout: ConsumerTimeout, plugin: str, limit: float) -> str | None:
    """What is to be said of a plugin that can be run, if anything is."""
    never = timeout.seconds is None or timeout.seconds >= CONSUMER_TIMEOUT_MS / 1000
    if limit or never:
        return None
    return (
        f"plugin {plugin} has no time limit, but RabbitMQ takes a subtask away after"
        f" {timeout.seconds:g} s ({timeout.source}), and the worker has to end: set the plugin's"
        " timeout_seconds, or raise consumer_timeout in rabbitmq.conf"
    )


def _told_by_tool(broker: Broker) -> ConsumerTimeout | None:
    """What rabbitmqctl says, where it is here and speaks of that very broker."""
    tool = shutil.which("rabbitmqctl")
    if tool is None or not _has_name_server():
        return None
    try:
        said = subprocess.run(  # noqa: S603 - what the operator has in PATH
            [tool, "-q", "--timeout", str(_TOOL_SECONDS), "eval", _QUESTION],
            env=_environment(),
            capture_output=True,
            check=True,
            text=True,
            timeout=2 * _TOOL_SECONDS,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return read_answer(said, broker.port)


def read_answer(said: str, port: int) -> ConsumerTimeout | None:
    """What rabbitmqctl's answer means for the broker that listens on that port."""
    found = re.search(r"\{(?:undefined|\{ok,\s*(\w+)\}),\s*\[([\d,\s]*)\]\}", said)
    if found is None or str(port) not in re.findall(r"\d+", found[2]):
        return None
    milliseconds = found[1] or "undefined"
    seconds = int(milliseconds) / 1000 if milliseconds.isdigit() else None
    return ConsumerTimeout(seconds, "as rabbitmqctl says")


def _has_name_server() -> bool:
    """Whether a broker may run here at all; without this, rabbitmqctl leaves a name server."""
    port = int(os.environ.get("ERL_EPMD_PORT", _NAME_SERVER_PORT))
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False


def _environment() -> dict[str, str]:
    """What rabbitmqctl needs of the environment, and nothing secret."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith(("RABBITMQ_", "ERL_"))
    }
