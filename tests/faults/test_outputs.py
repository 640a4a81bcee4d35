"""Outputs that are stored while they are written, many at once, and over several attempts."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.faults import writers
from tests.lifecycle.running import SUBTASK, Background, eventually, finish, run, start
from tests.strict_datahub import StrictDatahub

INIT, COMPLETE = "/api/task/upload/init", "/api/task/upload/complete"
PARTS = {"transfer__chunk_size": str(writers.PART)}


def puts(hub: StrictDatahub) -> list[str]:
    return [call.target for call in hub.storage.calls if call.method == "PUT"]


def calls(hub: StrictDatahub, path: str) -> list[dict[str, Any]]:
    return [call.content for call in hub.calls if call.path == path]


def stored(hub: StrictDatahub, name: str) -> bytes:
    content = hub.outputs[name]
    return content if isinstance(content, bytes) else content.read_bytes()


def test_many_files_take_three_calls_each_and_are_all_listed(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        outcome = run(writers.Many, hub, tmp_path)
        assert outcome.exit_code == 0, outcome.error
        assert len(hub.outputs) == len(outcome.outputs) == 200
        assert len(calls(hub, INIT)) == len(puts(hub)) == len(calls(hub, COMPLETE)) == 200
        for listed in outcome.outputs:
            content = stored(hub, listed.name)
            assert (listed.size, listed.sha256) == (
                len(content),
                hashlib.sha256(content).hexdigest(),
            )
        assert hub.violations == []
        assert hub.heartbeats


def test_many_files_after_a_kill_only_the_missing_ones_are_sent(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        command = start(writers.Many, hub, tmp_path)
        hub.wait_for(lambda: len(calls(hub, COMPLETE)) >= 60)
        command.kill()
        command.communicate()
        before = len(hub.outputs)
        begun = len(calls(hub, INIT))
        code, outcome, said = finish(start(writers.Many, hub, tmp_path))
        assert code == 0, said
        assert len(outcome["outputs"]) == len(hub.outputs) == 200
        # What was under way may have to be completed, or even begun, again: 16 files at the most.
        assert len(calls(hub, INIT)) - begun <= 200 - before + 16
        # The kill cuts calls short, and one may be made again that Datahub has acted upon.
        of_the_kill = ("shorter than its Content-Length", "of a completed upload")
        assert [v for v in hub.violations if not v.endswith(of_the_kill)] == []


def test_an_output_of_an_attempt_that_died_is_listed_too(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        first = run(writers.ByHand, hub, tmp_path)
        assert first.exit_code == 1
        assert [file.name for file in first.outputs] == ["by hand"]
        again = run(writers.ByHand, hub, tmp_path)  # it has ended: nothing runs
        assert again.outputs == first.outputs


def test_a_pause_holds_the_upload_of_what_is_left(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        with Background(
            Large,
            hub,
            tmp_path,
            transfer={"chunk_size": writers.PART, "bandwidth": 20 * 2**20, "concurrency": 1},
        ) as task:
            hub.wait_for(lambda: puts(hub))
            hub.set_status(2)
            hub.wait_for(lambda: hub.statuses == [1, 2])
            held, asked = len(puts(hub)), len(hub.calls)
            hub.wait_for(lambda: len(hub.calls) >= asked + 15)
            assert len(puts(hub)) <= held + 1
            assert not hub.outputs
            hub.set_status(1)
            assert task.ended.exit_code == 0
        assert hub.statuses == [1, 2, 1, 3]
        assert hub.violations == []


class Large(writers.Many):
    """Leaves one file of 50 MiB."""

    def process(self, ctx: Any) -> None:
        (ctx.output_dir / "large").write_bytes(bytes(50 * 2**20))


def test_the_md5_is_sent_where_it_is_asked_for(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        outcome = run(writers.Many, hub, tmp_path, {"files": 2}, transfer={"send_md5": True})
        assert outcome.exit_code == 0
        sent = {call["file_name"]: call["file_md5"] for call in calls(hub, INIT)}
        assert sent == {
            name: hashlib.md5(stored(hub, name)).hexdigest() for name in ("file-0000", "file-0001")
        }
        assert hub.violations == []


@pytest.mark.parametrize("isolation", ["process", "thread"])
@pytest.mark.parametrize("sized", [True, False])
def test_an_output_is_sent_while_it_is_written_if_its_size_is_known(
    tmp_path: Path, isolation: str, *, sized: bool
) -> None:
    with StrictDatahub(SUBTASK) as hub:
        engine = {"isolation": isolation, "transfer": {"chunk_size": writers.PART}}
        with Configured({"sized": sized}, hub, tmp_path, **engine) as task:
            eventually((tmp_path / "written").exists)
            if sized:
                hub.wait_for(lambda: len(puts(hub)) == 1)
            assert len(puts(hub)) == int(sized)
            assert not calls(hub, COMPLETE)
            (tmp_path / "go").touch()
            outcome = task.ended
        assert outcome.exit_code == 0, outcome.error
        assert hub.outputs.keys() == {"deep/out.bin"}
        assert stored(hub, "deep/out.bin") == writers.CONTENT
        assert outcome.outputs[0].sha256 == hashlib.sha256(writers.CONTENT).hexdigest()
        assert len(outcome.outputs) == 1
        assert outcome.result == {"files": []}
        assert len(puts(hub)) == 3
        assert hub.violations == []


class Configured(Background):
    """A run of ``Writes`` with a config."""

    def __init__(
        self, config: dict[str, Any], hub: StrictDatahub, path: Path, **changes: Any
    ) -> None:
        super().__init__(writers.Writes, hub, path, **changes)
        self.run = self._engine.run(SUBTASK, config=config)


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize(
    ("way", "error"),
    [
        ("raise", "ValueError: in the middle"),
        ("forget", "an output could not be stored: opened, and never closed: deep/out.bin"),
        ("die", "killed by SIGKILL"),
    ],
)
def test_an_output_that_is_not_closed_is_not_stored(
    tmp_path: Path, way: str, error: str, *, sized: bool
) -> None:
    (tmp_path / "go").touch()
    with StrictDatahub(SUBTASK) as hub:
        config = {"way": way, "sized": sized}
        outcome = run(writers.Writes, hub, tmp_path, config, transfer={"chunk_size": writers.PART})
        assert error in (outcome.error or "")
        assert outcome.outputs == ()
        assert not calls(hub, COMPLETE)
        assert hub.statuses == [1, 5]
        assert hub.violations == []


@pytest.mark.parametrize("way", ["short", "large"])
def test_an_output_of_another_size_than_was_given_is_not_stored(tmp_path: Path, way: str) -> None:
    (tmp_path / "go").touch()
    with StrictDatahub(SUBTASK) as hub:
        config = {"way": way}
        outcome = run(writers.Writes, hub, tmp_path, config, isolation="thread")
        assert "was to have 12582919 bytes, and has" in (outcome.error or "")
        assert not calls(hub, COMPLETE)
        assert hub.statuses == [1, 5]
        assert hub.violations == []


def test_the_next_attempt_writes_an_output_anew_and_sends_only_what_is_missing(
    tmp_path: Path,
) -> None:
    with StrictDatahub(SUBTASK) as hub:
        command = start(writers.Writes, hub, tmp_path, **PARTS)
        hub.wait_for(lambda: len(puts(hub)) == 1)
        with closing(sqlite3.connect(tmp_path / "journal.sqlite3")) as db:
            eventually(lambda: db.execute("SELECT * FROM upload_parts").fetchall())
        command.kill()
        command.communicate()
        (tmp_path / "go").touch()
        code, outcome, said = finish(start(writers.Writes, hub, tmp_path, **PARTS))
        assert code == 0, said
        assert outcome["attempt"] == 2
        assert len(puts(hub)) == 3
        assert stored(hub, "deep/out.bin") == writers.CONTENT
        assert hub.violations == []
