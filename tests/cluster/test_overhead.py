"""What a subtask costs that goes through a broker, beside one that does not."""

from __future__ import annotations

import statistics
import time

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.conftest import Figure
from tests.cluster.processes import Service

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]
COUNT = 50
MOST_SECONDS = 0.030


@pytest.mark.parametrize("cluster", ["journal", "redis", "postgres"], indirect=True)
def test_a_no_op_costs_at_most_30_ms_more_than_here(cluster: Cluster, figure: Figure) -> None:
    """The two take turns, so that what else the machine does is the same for both."""
    through_broker = cluster.service("Nothing")
    here = cluster.local_service("Nothing")
    cluster.worker("one", "Nothing")
    for service in (here, through_broker):
        seconds(cluster, service)  # the first also loads what is loaded once
    took = [(seconds(cluster, here), seconds(cluster, through_broker)) for _ in range(COUNT)]
    local, clustered = (statistics.median(times) for times in zip(*took, strict=True))
    figure("ms here, through the broker", (round(local * 1000, 1), round(clustered * 1000, 1)))
    assert clustered - local <= MOST_SECONDS


def seconds(cluster: Cluster, service: Service) -> float:
    """From before it is handed in until its result is there."""
    (subtask,) = cluster.new()
    began = time.monotonic()
    assert service.call.create(subtask, {}).fate == (200, 0)
    cluster.ledger.wait_for_end([subtask])
    ending = cluster.ledger.ending(subtask)
    assert ending is not None
    assert ending.status == 3
    return ending.at - began
