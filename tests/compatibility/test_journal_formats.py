"""A journal that an older release left is taken over whole; one of a newer release is refused."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from plugin_framework import DatahubPlugin, PluginConfig, TaskContext
from plugin_framework.emulator import Emulator
from plugin_framework.engines.cluster.journal_store import JournalStore
from plugin_framework.engines.local import JOURNAL
from plugin_framework.journal.database import SCHEMA_VERSION
from plugin_framework.journal.journal import Journal
from plugin_framework.protocol.client import DatahubClient
from plugin_framework.protocol.models import TaskStatus
from tests.cli.calling import call, problem_of
from tests.compatibility.journals import (
    CHUNK,
    FORMATS,
    LONG_AGO,
    PARTS,
    REPORTS,
    TOLD,
    URLS,
    create,
    dump_of,
    restore,
)
from tests.compatibility.schemas import schema_of
from tests.lifecycle.running import run
from tests.strict_datahub import StrictDatahub

OLD_AND_NEW = (FORMATS[0], FORMATS[-1])


class Resumes(DatahubPlugin):
    """Goes on from the saved state, with the upload that was begun."""

    isolation = "thread"

    class Config(PluginConfig):
        times: int

    def process(self, ctx: TaskContext[Any]) -> dict[str, Any]:
        (ctx.output_dir / "big.bin").write_bytes(b"\0" * (3 * CHUNK))
        return {"line": ctx.state["line"], "of": ctx.state["of"], "attempt": ctx.attempt}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture(params=FORMATS)
def format_(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def journal(format_: int, state: Path) -> Iterator[Journal]:
    restore(format_, state / JOURNAL)
    with closing(Journal(state / JOURNAL)) as opened:
        yield opened


def test_each_format_has_its_journal() -> None:
    """A new format needs one: ``python -m tests.compatibility.journals`` writes it."""
    assert all(dump_of(one).exists() for one in FORMATS)
    assert list(FORMATS) == list(range(1, SCHEMA_VERSION + 1))


def test_what_was_released_of_a_format_is_never_edited(format_: int, tmp_path: Path) -> None:
    """A migration that has been out has made files; another one is added for what is to change."""
    restore(format_, tmp_path / "kept" / JOURNAL)
    with closing(sqlite3.connect(tmp_path / "made", isolation_level=None)) as db:
        create(db, format_)
    assert schema_of(tmp_path / "made") == schema_of(tmp_path / "kept" / JOURNAL)


@pytest.mark.usefixtures("journal")
def test_an_old_journal_becomes_what_a_new_one_is(state: Path, tmp_path: Path) -> None:
    Journal(tmp_path / "new").close()
    assert schema_of(state / JOURNAL) == schema_of(tmp_path / "new")


def test_no_subtask_and_no_report_is_lost(journal: Journal) -> None:
    found = {one.subtask_id: one for one in journal.records.all()}
    states = {name: one.state for name, one in found.items() if not name.startswith("waits")}
    assert states == {
        "behind": "undelivered",
        "broken": "undelivered",
        "over": "delivered",
        "refused": "refused",
        "half": "unfinished",
    }
    for name in states:
        pending = [row for row in REPORTS if row[2] == name and row[5] == "pending"]
        kept = journal.pending_reports(name)
        assert [(one.status, one.path, one.body) for one in kept] == [
            (status, path, body) for status, path, _, body, _, _ in pending
        ]
        assert (found[name].attempts, found[name].created) == (1, LONG_AGO)


def test_saved_state_and_uploads_half_done_are_kept(journal: Journal, format_: int) -> None:
    upload = journal.uploads.find("half", "big.bin")
    assert (upload is None) == (format_ < 2)
    if upload is not None:
        assert (upload.upload_id, upload.size, upload.chunk) == ("u-1", 3 * CHUNK, CHUNK)
        assert (list(upload.urls), upload.completed) == (URLS, False)
        assert {part: one.etag for part, one in upload.parts.items()} == PARTS
        assert "stalled" in [one.kind for one in journal.timeline.events("half")]
    if format_ >= 4:
        (output,) = journal.uploads.outputs("over")
        assert (output.name, output.size, output.sha256) == ("out.csv", 12, "ab" * 32)
    assert journal.start_attempt("half", task_id="task", plugin="Resumes", config={}) == (
        2,
        {"line": 7, "of": "früher"},
    )


def test_what_waited_for_a_service_waits_in_the_same_place(journal: Journal, format_: int) -> None:
    waiting = journal.queue.waiting()
    assert [(one.subtask_id, one.place, one.wanted) for one in waiting] == (
        [("waits-1", 1, 1), ("waits-2", 2, 2)] if format_ >= 5 else []
    )
    assert [number for number, _ in journal.queue.calls()] == (
        [-5000000000000000000] if format_ >= 5 else []
    )
    if format_ >= 6:
        sight = JournalStore(journal).look("far")
        assert sight is not None
        assert (sight.number, sight.node) == (2, "node")


def test_a_subtask_goes_on_where_an_older_release_was(format_: int, state: Path) -> None:
    restore(format_, state / JOURNAL)
    with StrictDatahub("half") as hub:
        with DatahubClient(hub.url) as client:
            client.update_status("half", TaskStatus.RUNNING)
        outcome = run(Resumes, hub, state, {"times": 2}, subtask_id="half")
        assert (outcome.status, hub.result) == (3, {"line": 7, "of": "früher", "attempt": 2})
        assert list(hub.outputs) == ["big.bin"]
    with closing(sqlite3.connect(state / JOURNAL)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


@pytest.mark.parametrize("format_", OLD_AND_NEW)
def test_what_an_older_release_could_not_deliver_is_delivered(format_: int, state: Path) -> None:
    restore(format_, state / JOURNAL)
    with Emulator(state_dir=state.parent / "datahub", key="key-1", secret="canned") as datahub:
        for name in ("behind", "broken"):
            datahub.store.create_subtask(name)
        ended = call(
            *("journal", "deliver"),
            cwd=state.parent,
            env={
                "DATAHUB_BASE_URL": datahub.url,
                "DATAHUB_API_KEY": "key-1",
                "DATAHUB_API_SECRET": "canned",
                "DATAHUB_STATE_DIR": str(state),
            },
        )
        assert (ended.code, ended.out) == (0, "behind  delivered\nbroken  delivered\n")
        behind, broken = (datahub.store.subtask(name) for name in ("behind", "broken"))
        assert (behind.status, behind.result) == (3, TOLD)
        assert broken.status == 5


@pytest.mark.parametrize(
    "command",
    [
        ("journal", "list", "--all"),
        ("run", "tests.compatibility.test_journal_formats:Resumes", "--subtask-id", "half"),
        ("serve", "tests.compatibility.test_journal_formats:Resumes", "--port", "0"),
    ],
    ids=lambda words: words[0] + "-" + words[1][:7],
)
def test_a_newer_journal_is_refused_in_one_line_and_left_alone(
    command: tuple[str, ...], state: Path
) -> None:
    restore(SCHEMA_VERSION, state / JOURNAL)
    with closing(sqlite3.connect(state / JOURNAL)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = hashlib.sha256((state / JOURNAL).read_bytes()).hexdigest()
    env = {"DATAHUB_STATE_DIR": str(state), "DATAHUB_BASE_URL": "http://127.0.0.1:9"}
    ended = call(*command, cwd=state.parent, env=env)
    (line,) = ended.err.splitlines()
    message, code = problem_of(line)
    assert "was written by a newer version of the framework" in message
    assert f"formats up to {SCHEMA_VERSION}" in message
    assert code == "DH-404", line
    assert (ended.code, ended.out) == (2, "")
    assert hashlib.sha256((state / JOURNAL).read_bytes()).hexdigest() == before
    assert not list(state.glob(f"{JOURNAL}?*"))
