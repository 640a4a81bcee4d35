"""What nodes tell each other is JSON, and holds no secret; neither does what they log."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.amqp_client import queues_of
from tests.cluster.cluster import Cluster
from tests.cluster.processes import until
from tests.cluster.rabbitmq import PASSWORD
from tests.service.calling import SECRET

pytestmark = pytest.mark.cluster
SECRETS = [SECRET, PASSWORD, "X-Amz-Signature", "X-Amz-Credential"]


def test_a_message_is_plain_json(cluster: Cluster) -> None:
    service = cluster.service("Work")
    (subtask,) = cluster.create(service, "Work", {"seconds": 0.5})
    with queues_of(cluster.broker) as queues:
        until(lambda: queues.depth(cluster.queue("Work")) == 1, "one in the queue")
        (message,) = queues.take_all(cluster.queue("Work"))
    assert message.properties["content_type"].endswith("+json")
    assert message.properties["delivery_mode"] == 2
    arguments, content, _ = json.loads(message.body)
    assert arguments == []
    assert content == {
        "v": 1,
        "subtask_id": subtask,
        "task_id": None,
        "plugin": "Work",
        "config": {"marks": str(cluster.marks_file), "seconds": 0.5},
        "attempt": 1,
        "store": content["store"],
    }
    assert re.fullmatch("[0-9a-f]{16}", content["store"])
    whole = json.dumps([message.body, message.properties], default=str)
    assert [secret for secret in SECRETS if secret in whole] == []


@pytest.mark.parametrize("cluster", ["journal", "redis", "postgres"], indirect=True)
def test_no_secret_is_kept_or_logged(cluster: Cluster, tmp_path: Path) -> None:
    """With parts of an upload in the store, whose URLs let anybody write."""
    rates = {"transfer__chunk_size": "5MiB", "transfer__bandwidth": "8MiB"}
    settings: dict[str, Any] = {**rates, "log_level": "DEBUG"}
    service = cluster.service("Sends", log_level="DEBUG")
    cluster.worker("one", "Sends", **settings)
    (subtask,) = cluster.create(service, "Sends", {"mebibytes": 40})
    path = "/api/task/upload/init"
    cluster.ledger.wait_for(lambda: path in {c.path for c in cluster.ledger.calls(subtask)})
    until(lambda: _puts(cluster, subtask) >= 2, "two parts")
    kept = _everything_in(cluster)
    assert subtask.encode() in kept
    assert [secret for secret in SECRETS if secret.encode() in kept] == []
    cluster.ledger.wait_for_end([subtask])
    said = "".join(process.text for process in cluster.processes)
    assert [secret for secret in SECRETS if secret in said] == []


def _puts(cluster: Cluster, subtask: str) -> int:
    return sum(event.kind == "put" for event in cluster.datahub.store.events(subtask))


def _everything_in(cluster: Cluster) -> bytes:
    """All that the store holds, as it is."""
    url = cluster.env.get("DATAHUB_STORE_URL", "")
    if url.startswith("redis"):
        import redis  # noqa: PLC0415 - an extra

        with redis.Redis.from_url(url) as client:
            names: list[bytes] = list(client.scan_iter())
            return b"\n".join([*names, *(client.dump(name) or b"" for name in names)])
    if url.startswith("postgresql"):
        dumped = subprocess.run(["pg_dump", url], check=True, capture_output=True)
        return dumped.stdout
    folder = cluster.folder / "shared"
    return b"".join(path.read_bytes() for path in folder.glob("journal.sqlite3*"))
