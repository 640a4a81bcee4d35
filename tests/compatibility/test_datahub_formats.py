"""The state of a local Datahub: an older release's is taken over, a newer one's is refused."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from plugin_framework.emulator.schema import SCHEMA_VERSION
from plugin_framework.emulator.store import Store
from tests.cli.calling import call, problem_of
from tests.compatibility.schemas import schema_of

FORMATS = Path(__file__).parent / "formats"
LAYOUTS = range(1, SCHEMA_VERSION + 1)
INPUT, OUTPUT = b"small letters\n", b"HELLO"


def restore(layout: int, state: Path) -> Path:
    """Make a state directory as a release of that layout left it, running; its database."""
    (state / "objects").mkdir(parents=True)
    database = state / "datahub.sqlite3"
    with closing(sqlite3.connect(database)) as db:
        db.executescript((FORMATS / f"datahub-{layout}.sql").read_text(encoding="utf-8"))
        for blob, size in db.execute("SELECT blob, size FROM objects"):
            (state / "objects" / blob).write_bytes(INPUT if size is None else OUTPUT)
    return database


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_is_lost(layout: int, tmp_path: Path) -> None:
    restore(layout, tmp_path)
    with closing(Store(tmp_path)) as store:
        found = {one.subtask_id: one for one in store.subtasks()}
        assert {name: int(one.status) for name, one in found.items()} == {
            "new": 0,
            "running": 1,
            "done": 3,
            "failed": 5,
        }
        assert all(one.config == {"times": 2} for one in found.values())
        assert found["running"].requested == 2
        assert found["running"].progress == 40
        assert found["done"].result == {"total_counts": 3}
        assert None not in (found["done"].started_at, found["done"].ended_at)
        assert [one.kind for one in store.events("done")] == [
            *("status", "heartbeat", "upload_init", "upload", "result")
        ]
        (output,) = store.outputs("done")
        assert (output.name, output.path.read_bytes()) == ("out.txt", OUTPUT)
        key, name = store.input_of("running")
        assert (name, b"".join(store.read(key))) == ("letters.txt", INPUT)
        assert store.storage_secret == "c0de" * 16


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_old_state_becomes_what_a_new_one_is(layout: int, tmp_path: Path) -> None:
    """As it is kept, where it has this layout: a change of the tables needs a layout of its own."""
    database = restore(layout, tmp_path / "old")
    if layout < SCHEMA_VERSION:
        Store(tmp_path / "old").close()
    Store(tmp_path / "new").close()
    assert schema_of(database) == schema_of(tmp_path / "new" / database.name)


def test_a_newer_state_is_refused_in_one_line_and_left_alone(tmp_path: Path) -> None:
    database = restore(SCHEMA_VERSION, tmp_path / "state")
    with closing(sqlite3.connect(database)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = hashlib.sha256(database.read_bytes()).hexdigest()
    ended = call("emulator", "--state", tmp_path / "state", "--port", "0", cwd=tmp_path)
    (line,) = ended.err.splitlines()
    message, code = problem_of(line)
    assert f"made by a newer version (layout {SCHEMA_VERSION + 1}" in message
    assert (ended.code, ended.out, code) == (2, "", "DH-404")
    assert hashlib.sha256(database.read_bytes()).hexdigest() == before
