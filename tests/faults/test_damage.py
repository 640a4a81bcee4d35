"""A journal that is spoilt under a run: what is done is still told, once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lifecycle import plugins
from tests.lifecycle.running import SUBTASK, finish, run, start
from tests.strict_datahub import StrictDatahub

OTHER = "task_abc_002_ingest"


def overwrite(journal: Path) -> None:
    """In place, with garbage, as a bad disk or a slip of the hand would."""
    for path in (journal, Path(f"{journal}-wal")):
        with path.open("r+b") as file:
            file.write(b"\xa5" * path.stat().st_size)


def tear(journal: Path) -> None:
    """Half of its pages are gone."""
    for path in (journal, Path(f"{journal}-wal")):
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)


def remove(journal: Path) -> None:
    journal.unlink()


def replace(journal: Path) -> None:
    other = journal.with_suffix(".other")
    other.write_bytes(b"\xa5" * 50_000)
    other.rename(journal)


spoilt = pytest.mark.parametrize("spoil", [overwrite, tear, remove, replace])


@spoilt
@pytest.mark.parametrize("again", [False, True])
def test_a_journal_that_is_spoilt_in_use(
    tmp_path: Path, spoil: Callable[[Path], None], *, again: bool
) -> None:
    """What returned is delivered; what needs the journal to go on has failed."""
    with StrictDatahub(SUBTASK) as hub:
        config = ("--set", f"again={str(again).lower()}")
        command = start(plugins.Saves, hub, tmp_path, *config, delivery_deadline=600)
        hub.wait_for(lambda: hub.heartbeats and (tmp_path / "started").exists())
        spoil(tmp_path / "journal.sqlite3")
        (tmp_path / "go").touch()
        code, outcome, said = finish(command)
        assert (code, outcome["status"], outcome["delivered"]) in {(0, 3, True), (1, 5, True)}, said
        if not again:
            assert outcome["result"] == hub.result == {"done": True}
        elif spoil in {remove, replace}:
            assert code == 1
            assert "while it was in use" in outcome["error"]
        assert said.count("cannot be journalled") <= 1
        assert hub.statuses == [1, outcome["status"]]
        assert hub.violations == []
    with StrictDatahub(OTHER) as hub:
        after = run(plugins.Quick, hub, tmp_path, isolation="thread", subtask_id=OTHER)
        assert after.exit_code == 0
        assert hub.violations == []


@spoilt
def test_what_a_spoilt_journal_kept_is_not_said_to_be_kept(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next("/api/task/result", 1000, "503")
        command = start(plugins.Quick, hub, tmp_path, delivery_deadline=600, grace_seconds=0.2)
        hub.wait_for(lambda: any(call.path == "/api/task/result" for call in hub.calls))
        spoil(tmp_path / "journal.sqlite3")
        command.terminate()
        code, outcome, said = finish(command)
        assert (code, outcome["status"], outcome["delivered"]) == (1, 5, False), said
        assert outcome["result"]["attempt"] == 1
        assert said.count("LOST") == 1
        assert hub.statuses == [1]
        assert hub.violations == []
