"""A real broker, and settings that lead to it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from plugin_framework.engines.celery.broker import Broker
from plugin_framework.settings import Settings, load_settings
from tests.cluster.rabbitmq import RabbitMQ, is_installed

_numbers = itertools.count()


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    if not is_installed():
        pytest.skip("rabbitmq-server is not installed")
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq") / "broker", vhosts=["test", "a/b c"]) as made:
        yield made


@pytest.fixture
def settings(rabbitmq: RabbitMQ) -> Settings:
    return settings_for(rabbitmq.url())


@pytest.fixture
def broker(settings: Settings) -> Broker:
    return Broker(settings)


@pytest.fixture
def new_queue() -> Callable[[], str]:
    """Names of queues that no other test has."""
    return lambda: f"datahub.test{next(_numbers)}.c1"


def settings_for(url: str, **more: object) -> Settings:
    return load_settings(engine="celery", broker_url=url, **more)
