"""A node stands still, others go on with its work, and it comes back: it may report nothing."""

from __future__ import annotations

import signal
import time

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.processes import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
STOPPED_SECONDS = 40


@pytest.mark.parametrize("cluster", ["journal", "redis", "postgres"], indirect=True)
def test_a_stopped_node_comes_back_and_reports_nothing(cluster: Cluster) -> None:
    ledger = cluster.ledger
    service = cluster.service("Work")
    (stands_still,) = cluster.workers("one", "Work")
    # One returns while its supervisor stands still; the other goes on for longer than that.
    go = cluster.folder / "go"
    short = cluster.create(service, "Work", {"seconds": 3})[0]
    long = cluster.create(service, "Work", {"until": str(go)})[0]
    ledger.wait_for(lambda: len(ledger.running("one", [short, long])) == 2)
    cluster.wait_for_runs(2)
    stands_still.process.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    cluster.workers("two three", "Work")
    more = cluster.create(service, "Work", {"seconds": 0.5}, count=10)
    ledger.wait_for_end([short, *more])
    ledger.wait_for(lambda: ledger.running("two", [long]) or ledger.running("three", [long]))
    cluster.wait_for_runs(14)
    time.sleep(max(0, stopped + STOPPED_SECONDS - time.monotonic()))  # how long it stands still
    before = len(ledger.calls(short)), len(ledger.calls(long))
    stands_still.process.send_signal(signal.SIGCONT)
    # Its run that goes on is ended, while the one that has the lease is not.
    (first, second) = cluster.runs(long)
    until(lambda: not first.lives, "the fenced attempt's process ends")
    assert second.lives
    last = cluster.create(service, "Work", {"seconds": 0.5}, count=12)
    ledger.wait_for_end(last)
    assert any(call.source == "one" for subtask in last for call in ledger.calls(subtask)), (
        "the node that came back takes no work"
    )
    go.touch()
    subtasks = [short, long, *more, *last]
    ledger.wait_for_end(subtasks)
    assert ledger.wrongs(subtasks) == []
    assert [c for c in ledger.calls(short)[before[0] :] if c.path != "/api/task/notify"] == []
    assert "one" not in {call.source for call in ledger.calls(long)[before[1] :]}
    assert {ledger.statuses(subtask)[-1] for subtask in subtasks} == {3}
