"""What a worker needs before it takes messages: its plugins, and a broker that is fit for them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from plugin_framework.engines.celery.broker import FAILURES, Broker, version_of
from plugin_framework.engines.celery.consumer_timeout import consumer_timeout, too_short, warning
from plugin_framework.engines.celery.queues import declare
from plugin_framework.engines.cluster.records import Offer
from plugin_framework.engines.cluster.resources import Needs, described, queue_name
from plugin_framework.engines.cluster.store import LeaseStore
from plugin_framework.engines.local import LocalEngine
from plugin_framework.errors import (
    ClusterConfigurationError,
    ClusterError,
    Code,
    Problem,
)
from plugin_framework.journal.journal import Journal
from plugin_framework.settings import Settings

RETRY_SECONDS = 1.0
"""Between two tries to reach what is away when the worker starts."""

log: logging.Logger = logging.getLogger("datahub.worker")

_Made = TypeVar("_Made")


def settings_of_a_worker(settings: Settings) -> Settings:
    """Those by which what is not done goes on elsewhere."""
    if "on_shutdown" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"on_shutdown": "leave"})


class Plugins:
    """The plugins of a worker, and those that it serves: of which a subtask fits into its offer.

    Raises:
        ConfigurationError: none fits, one cannot be imported, or does not say well what it needs.
    """

    def __init__(self, engines: Mapping[str, LocalEngine], offer: Offer) -> None:
        self.journal: Journal = next(iter(engines.values())).journal
        self.versions: dict[str, str] = {name: each.version for name, each in engines.items()}
        self.needs: dict[str, Needs] = {
            name: Needs.of(each.resources, name) for name, each in engines.items()
        }
        self.served: dict[str, LocalEngine] = {
            name: each for name, each in engines.items() if self.needs[name].fit(offer)
        }
        self.queues: dict[str, str] = {
            name: queue_name(name, self.needs[name]) for name in self.served
        }
        problems = [
            Problem(
                f"plugin {name}: a subtask needs {self.needs[name]}, and this machine offers"
                f" {described(offer)}: it is not served here",
                Code.NO_RESOURCES,
            )
            for name in engines
            if name not in self.served
        ]
        if not self.served:
            raise ClusterConfigurationError(problems, code=Code.NO_RESOURCES)
        for problem in problems:
            log.error("%s", problem)


class Retry:
    """Waits for what is away when the worker starts, and says so once."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self._said = False

    def until_there(self, make: Callable[[], _Made]) -> _Made:
        """What ``make`` returns.

        Raises:
            ClusterError: what it raised when the time was up.
        """
        while True:
            try:
                return make()
            except ClusterError as error:
                if time.monotonic() >= self._ends:
                    raise
                if not self._said:
                    self._said = True
                    log.warning("%s; it is tried again each second", error)
            threading.Event().wait(RETRY_SECONDS)


def prepare(broker: Broker, plugins: Plugins, settings: Settings, store: LeaseStore) -> None:
    """See that the broker has the queues, and will let the subtasks run as long as they may.

    Raises:
        BrokerUnavailableError: it is not there.
        ClusterConfigurationError: it refuses us, or would take subtasks away.
    """
    connection = broker.connect("worker")
    try:
        for queue in plugins.queues.values():
            declare(connection, queue)
        version = version_of(connection.server_properties)
    except FAILURES as error:
        raise broker.refusal(error) from None
    finally:
        connection.collect()
    timeout = consumer_timeout(broker, version, settings, store)
    limits = {name: each.time_limit for name, each in plugins.served.items()}
    problems = [
        problem
        for name, seconds in limits.items()
        if (problem := too_short(timeout, name, seconds, settings.grace_seconds))
    ]
    if problems:
        raise ClusterConfigurationError(problems, code=Code.CONSUMER_TIMEOUT_SHORT)
    for name, seconds in limits.items():
        if told := warning(timeout, name, seconds):
            log.warning("%s", told)
