"""A queue whose leader RabbitMQ has lost, for it was killed right after the queue was made."""

from __future__ import annotations

import re
import shlex

import pytest

from plugin_framework.engines.celery.broker import Broker
from plugin_framework.engines.celery.queues import declare
from tests.cluster.conftest import MakeCluster
from tests.cluster.rabbitmq import RabbitMQ
from tests.engines.celery.conftest import settings_for


@pytest.mark.cluster
@pytest.mark.timeout(240)
def test_a_lost_queue_is_mended_as_the_log_says(
    make_cluster: MakeCluster, own_broker: RabbitMQ
) -> None:
    cluster = make_cluster(url=own_broker.url())
    connection = Broker(settings_for(own_broker.url())).connect("test")
    declare(connection, cluster.queue("Work"))
    own_broker.kill()
    connection.collect()
    own_broker.start()
    service = cluster.service("Work")
    subtasks = cluster.create(service, "Work", count=3)
    told = service.said("does not confirm messages")["message"]
    assert cluster.queue("Work") in told
    cluster.worker("one", "Work", ready=False).said("has no time limit")
    command = re.search(r"rabbitmqctl ([^)]*)", told)
    assert command is not None, told
    own_broker.control(*shlex.split(command[1]))
    cluster.ledger.wait_for_end(subtasks)
    assert cluster.ledger.wrongs(subtasks) == []
