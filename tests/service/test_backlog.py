"""The backlog by itself, where a process would hide what happens."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from plugin_framework.journal.journal import Journal
from plugin_framework.service.backlog import Backlog
from plugin_framework.service.changes import Submission


def test_a_caller_that_goes_away_stops_no_writing(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "journal.sqlite3")) as journal:
        backlog = Backlog(journal.queue, ["p"], limit=10, on_ended=lambda: None)
        for number in range(5):
            reply = backlog.add(Submission(f"s-{number}", None, "p", "{}", number))
            reply.cancel()
        last = backlog.remember(7)
        backlog.close()
        assert last.result(0) is None
        assert len(journal.queue.waiting()) == 5
