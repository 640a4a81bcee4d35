"""What nodes and services of a cluster leave for each other, which may be of other releases."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from plugin_framework.engines.cluster.journal_store import JournalStore
from plugin_framework.engines.cluster.message import Message, message_id
from plugin_framework.engines.cluster.records import Ending, NodeRecord
from plugin_framework.engines.cluster.sealed import Seal
from plugin_framework.engines.local import JOURNAL
from plugin_framework.engines.remote import Handed
from plugin_framework.journal.journal import Journal
from tests.compatibility.journals import FORMATS, restore

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parent / "formats" / "cluster.json").read_text(encoding="utf-8")
)
SEAL = Seal(SecretStr("canned-secret"))


def with_more(record: dict[str, Any]) -> dict[str, Any]:
    """The same as a later release would write it."""
    offer = record["offer"] | {"disks": 2}
    return {"first": 0, **record, "offer": offer, "colour": ["green"]}


def test_a_message_is_as_released_both_ways() -> None:
    recorded = RECORDED["message"]
    config = json.dumps(recorded["config"])
    handed = Handed(
        recorded["subtask_id"], recorded["task_id"], recorded["plugin"], config, recorded["attempt"]
    )
    assert Message.of(handed).as_json() == recorded
    assert Message.read(recorded) == Message.of(handed)
    assert message_id(recorded["subtask_id"]) == RECORDED["message id"]


def test_a_message_of_another_version_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"^its version is 2, and not 1$"):
        Message.read({**RECORDED["message"], "v": 2, "later": True})


def test_a_node_of_a_newer_release_is_seen_by_an_older_one() -> None:
    record = NodeRecord.of(RECORDED["node"])
    assert json.loads(json.dumps(record.as_json())) == RECORDED["node"]
    assert NodeRecord.of(with_more(RECORDED["node"])) == record


def test_an_ending_of_another_release_is_sent_as_it_stands() -> None:
    recorded = RECORDED["ending"]
    ending = Ending.of(recorded, "pending")
    assert ending.as_json() == recorded
    assert Ending.of({**recorded, "later": 1}, "pending") == ending
    assert ending.body == recorded["body"].encode()


def test_part_urls_that_were_sealed_are_opened() -> None:
    sealed = RECORDED["sealed"]
    assert SEAL.unseal(sealed["subtask_id"], sealed["text"]) == sealed["urls"]


def test_the_nodes_of_one_machine_may_be_of_two_releases(tmp_path: Path) -> None:
    restore(FORMATS[-1], tmp_path / JOURNAL)
    with closing(sqlite3.connect(tmp_path / JOURNAL)) as db:
        for name, record in (("newer", with_more(RECORDED["node"])), ("older", RECORDED["node"])):
            text = json.dumps({**record, "name": name})
            db.execute("INSERT INTO nodes VALUES (?, ?, 2000000000.0)", (name, text))
        db.commit()
    with closing(Journal(tmp_path / JOURNAL)) as journal:
        assert {one.name for one in JournalStore(journal).nodes()} == {"newer", "older"}
