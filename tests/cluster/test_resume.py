"""An attempt elsewhere goes on where the first one stopped: saved state, and parts of uploads."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.conftest import Figure
from tests.cluster.plugins import content
from tests.cluster.processes import until

MIB = 1024 * 1024
CONCURRENCY = 4
"""Parts that are on their way at once, and may be sent without anybody knowing."""

LONG = [pytest.mark.cluster, pytest.mark.timeout(400)]


@pytest.mark.parametrize(
    ("cluster", "mebibytes", "part", "rate"),
    [
        ("redis", 64, 5, "16MiB"),
        pytest.param("redis", 1024, 16, "128MiB", marks=LONG),
        pytest.param("postgres", 1024, 16, "128MiB", marks=LONG),
    ],
    indirect=["cluster"],
)
def test_only_missing_parts_are_sent_elsewhere(
    cluster: Cluster, mebibytes: int, part: int, rate: str, figure: Figure
) -> None:
    settings: dict[str, Any] = {"transfer__chunk_size": f"{part}MiB"}
    count = -(-mebibytes // part)
    service = cluster.service("Sends")
    dies = cluster.worker("one", "Sends", transfer__bandwidth=rate, **settings)
    (subtask,) = cluster.create(service, "Sends", {"mebibytes": mebibytes})
    until(lambda: len(_sent(cluster, subtask)) >= 0.6 * count, "60% of the parts")
    dies.kill()
    done = _sent(cluster, subtask)
    assert len(done) < count
    cluster.worker("two", "Sends", **settings)
    cluster.ledger.wait_for_end([subtask], 240)
    assert cluster.ledger.wrongs([subtask]) == []
    sent = Counter(_sent(cluster, subtask))
    figure("parts in all, sent when it was killed", (count, len(done)))
    figure("parts sent twice", sum(sent.values()) - count)
    assert set(sent) == set(range(1, count + 1))
    assert sum(sent.values()) - count <= CONCURRENCY
    assert len([c for c in cluster.ledger.calls(subtask) if c.path.endswith("upload/init")]) == 1
    _check_content(cluster, subtask, mebibytes)


def _sent(cluster: Cluster, subtask: str) -> list[int]:
    """The parts that storage has taken, by their number, each as often as it did."""
    events = cluster.datahub.store.events(subtask)
    return [event.detail["part"] for event in events if event.kind == "put" and event.accepted]


def _check_content(cluster: Cluster, subtask: str, mebibytes: int) -> None:
    (output,) = cluster.datahub.store.outputs(subtask)
    wanted, found = hashlib.sha256(), hashlib.sha256()
    with output.path.open("rb") as stored:
        for number in range(mebibytes):
            wanted.update(content(number))
            found.update(stored.read(MIB))
        assert not stored.read(1)
    assert found.digest() == wanted.digest()


@pytest.mark.cluster
@pytest.mark.parametrize("cluster", ["redis", "postgres"], indirect=True)
def test_saved_state_is_there_elsewhere(cluster: Cluster) -> None:
    service = cluster.service("Steps")
    dies = cluster.worker("one", "Steps")
    (subtask,) = cluster.create(service, "Steps", {"steps": 12, "seconds": 0.2})
    until(lambda: _steps(cluster, 1) >= 5, "five steps")
    dies.kill()
    before = _steps(cluster, 1)
    cluster.worker("two", "Steps")
    cluster.ledger.wait_for_end([subtask])
    assert cluster.ledger.wrongs([subtask]) == []
    ending = cluster.ledger.ending(subtask)
    assert ending is not None
    assert ending.content["result"]["attempt"] == 2
    # The one that was under way is taken again.
    assert _steps(cluster, 2) in {12 - before, 12 - before + 1}
    assert [m.what for m in cluster.marks if m.what in {"new", "known"}] == ["new", "new"]


def _steps(cluster: Cluster, attempt: int) -> int:
    return sum(m.attempt == attempt and m.what.startswith("step") for m in cluster.marks)


@pytest.mark.cluster
@pytest.mark.parametrize("cluster", ["journal", "redis"], indirect=True)
def test_the_work_directory_is_known_where_it_was(cluster: Cluster) -> None:
    """On one machine, or where the same node comes back."""
    service = cluster.service("Steps")
    dies = cluster.worker("one", "Steps")
    (subtask,) = cluster.create(service, "Steps", {"steps": 12, "seconds": 0.2})
    until(lambda: _steps(cluster, 1) >= 3, "three steps")
    dies.kill()
    cluster.worker("one", "Steps")
    cluster.ledger.wait_for_end([subtask])
    assert cluster.ledger.wrongs([subtask]) == []
    assert [m.what for m in cluster.marks if m.what in {"new", "known"}] == ["new", "known"]
    folders: list[Any] = [mark.work_dir for mark in cluster.marks]
    assert len(set(folders)) == 1
