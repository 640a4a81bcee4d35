"""What happened to a subtask, in order, for people to read. It holds no URL and no secret."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from plugin_framework.errors import JournalError
from plugin_framework.journal.database import Database, Readable

log: logging.Logger = logging.getLogger("datahub.journal")

LONGEST_TEXT = 500
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"<>]*", re.IGNORECASE)
NOTE = (
    "INSERT INTO events (subtask_id, at, kind, detail)"
    " SELECT subtask_id, ?, ?, ? FROM subtasks WHERE subtask_id = ?"
)
"""Time, kind, detail in JSON, subtask; nothing is written of one that the journal does not know."""
_OF_THIS_ATTEMPT = (
    "subtask_id = ? AND kind = ? AND at >= (SELECT coalesce(max(started), 0) FROM attempts"
    " WHERE attempts.subtask_id = events.subtask_id)"
)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened ``at`` a time, in Unix seconds."""

    at: float
    kind: str
    detail: dict[str, Any]


class Events:
    """The events of all subtasks, to look at."""

    def __init__(self, database: Readable) -> None:
        self._db = database

    def events(self, subtask_id: str) -> list[Event]:
        """All that is known to have happened to a subtask, in order."""
        with self._db.read() as db:
            attempts = db.execute(
                "SELECT started, attempt FROM attempts WHERE subtask_id = ?", (subtask_id,)
            ).fetchall()
            reports = db.execute(
                "SELECT created, status, path, outcome, fate, settled FROM reports"
                " WHERE subtask_id = ? ORDER BY report_id",
                (subtask_id,),
            ).fetchall()
            noted = db.execute(
                "SELECT at, kind, detail FROM events WHERE subtask_id = ? ORDER BY event_id",
                (subtask_id,),
            ).fetchall()
            accepted = db.execute(
                "SELECT accepted, plugin FROM queue WHERE subtask_id = ?", (subtask_id,)
            ).fetchall()
        found = [Event(at, "accepted", {"plugin": plugin}) for at, plugin in accepted]
        found += [Event(at, "attempt", {"attempt": attempt}) for at, attempt in attempts]
        found += [event for report in reports for event in _of_report(*report)]
        found += [Event(at, kind, json.loads(detail)) for at, kind, detail in noted]
        return sorted(found, key=lambda event: event.at)


class Timeline(Events):
    """The events of all subtasks: noted, or known from their attempts and reports.

    A note that cannot be written is logged, and nothing else: no task fails by it. The first is a
    warning, and no other until notes can be written again. One of a subtask that the journal does
    not know is dropped.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._notes = database
        self._working = True

    def note(self, subtask_id: str, kind: str, **detail: Any) -> None:
        """Note an event, without waiting for the disk."""
        self._write(
            subtask_id,
            NOTE,
            (time.time(), kind, json.dumps(cleaned(detail)), subtask_id),
        )

    def count(self, subtask_id: str, kind: str) -> None:
        """Note an event that recurs: one row for each attempt, with how often and when last."""
        known = self._write(
            subtask_id,
            "UPDATE events SET detail = json_set(detail, '$.count',"  # noqa: S608 - a constant
            f" detail ->> 'count' + 1, '$.last', ?) WHERE {_OF_THIS_ATTEMPT}",
            (time.time(), subtask_id, kind),
        )
        if known == 0:
            self.note(subtask_id, kind, count=1, last=time.time())

    def _write(self, subtask_id: str, statement: str, values: tuple[Any, ...]) -> int:
        """How many rows were written; -1 where that failed."""
        try:
            with self._notes.write(durable=False) as db:
                written = db.execute(statement, values).rowcount
        except JournalError as error:
            level = logging.WARNING if self._working else logging.DEBUG
            self._working = False
            log.log(level, "the timeline of subtask %s misses an event: %s", subtask_id, error)
            return -1
        self._working = True
        return written


def _of_report(
    created: float, status: int, path: str, outcome: str | None, fate: str, settled: float | None
) -> Iterator[Event]:
    facts: dict[str, Any] = {"status": status, "of": path.rpartition("/")[2]}
    error = json.loads(outcome).get("error") if outcome else None
    yield Event(created, "report", {**facts, **({"error": cleaned(error)} if error else {})})
    if settled is not None:
        yield Event(settled, fate, facts)


def cleaned(value: Any) -> Any:
    """The value without the addresses in it, presigned or not, and no longer than people read."""
    if isinstance(value, dict):
        return {key: cleaned(part) for key, part in value.items()}
    if isinstance(value, str):
        return _ADDRESS.sub("...", value)[:LONGEST_TEXT]
    return value
