"""The journal as its operator sees it: a line for each subtask."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from plugin_framework.journal.database import Readable

State = Literal["undelivered", "refused", "waiting", "unfinished", "delivered"]

_SELECT = """
SELECT s.subtask_id, s.task_id, s.plugin, s.created,
    max((SELECT count(*) FROM attempts a WHERE a.subtask_id = s.subtask_id),
        coalesce(q.attempt, e.outcome ->> 'attempt', 0)),
    (SELECT status FROM reports r WHERE r.subtask_id = s.subtask_id
        ORDER BY report_id DESC LIMIT 1),
    (SELECT count(*) FROM reports r WHERE r.subtask_id = s.subtask_id AND fate = 'pending'),
    (SELECT min(created) FROM reports r WHERE r.subtask_id = s.subtask_id AND fate = 'pending'),
    e.fate, e.settled,
    (SELECT count(*) FROM events v WHERE v.subtask_id = s.subtask_id AND kind = 'undelivered'),
    (SELECT detail FROM events v WHERE v.subtask_id = s.subtask_id AND kind = 'undelivered'
        ORDER BY event_id DESC LIMIT 1),
    q.accepted, q.node, q.attempt, w.why, d.at, d.detail
FROM (
    SELECT subtask_id, task_id, plugin, created, rowid AS place,
        (SELECT coalesce(max(started), 0) FROM attempts a WHERE a.subtask_id = t.subtask_id)
            AS started
    FROM subtasks t
    UNION ALL SELECT subtask_id, task_id, plugin, accepted, place, 0 FROM queue q
    WHERE NOT EXISTS (SELECT 1 FROM subtasks t WHERE t.subtask_id = q.subtask_id)
) s
LEFT JOIN reports e ON e.subtask_id = s.subtask_id AND e.outcome IS NOT NULL
LEFT JOIN queue q ON q.subtask_id = s.subtask_id AND q.accepted > s.started
LEFT JOIN reasons w ON w.plugin = q.plugin
LEFT JOIN events d ON d.event_id = (SELECT max(event_id) FROM events v
    WHERE v.subtask_id = s.subtask_id AND kind = 'dropped' AND at >= s.started)
"""


@dataclass(frozen=True, slots=True)
class Record:
    """A subtask in the journal. Times are in Unix seconds.

    ``status`` is the last that was reported or is to be. ``since`` is when its oldest undelivered
    report was written, or else when it was accepted by the service where it waits, its start was
    refused or its terminal report was settled. ``tries`` counts the runs that gave up delivering,
    and ``why`` says what stopped the last of them, why its start was refused, what it waits for
    beside its turn, or which node has it.
    """

    subtask_id: str
    task_id: str | None
    plugin: str
    created: float
    attempts: int
    status: int | None
    pending: int
    state: State
    since: float | None
    tries: int
    why: str | None


class Records:
    """All subtasks in the journal, those that wait in the service's queue too."""

    def __init__(self, database: Readable) -> None:
        self._db = database

    def all(self) -> list[Record]:
        """All subtasks, those with the oldest undelivered report first."""
        return self._select("ORDER BY 8 IS NULL, 8, s.created, s.place")

    def find(self, subtask_id: str) -> Record | None:
        """One subtask, if the journal knows it."""
        return next(iter(self._select("WHERE s.subtask_id = ?", subtask_id)), None)

    def _select(self, condition: str, *values: str) -> list[Record]:
        with self._db.read() as db:
            rows = db.execute(_SELECT + condition, values).fetchall()
        return [_record(*row) for row in rows]


def _record(
    subtask_id: str,
    task_id: str | None,
    plugin: str,
    created: float,
    attempts: int,
    status: int | None,
    pending: int,
    oldest: float | None,
    fate: Literal["pending", "delivered", "refused"] | None,
    settled: float | None,
    tries: int,
    why: str | None,
    accepted: float | None,
    node: str | None,
    attempt: int | None,
    reason: str | None,
    dropped: float | None,
    refusal: str | None,
) -> Record:
    state: State
    why = json.loads(why).get("error") if why else None
    if pending:
        state, since = "undelivered", oldest
    elif accepted is not None and node is not None:
        state, since, why = "unfinished", accepted, f"attempt {attempt} runs on {node}"
    elif accepted is not None:
        state, since, why = "waiting", accepted, reason
    elif fate is not None and fate != "pending":
        state, since, why = fate, settled, None
    elif dropped is not None:
        state, since = "refused", dropped
        why = json.loads(refusal).get("error") if refusal else None
    else:
        state, since, why = "unfinished", settled, None
    return Record(
        subtask_id=subtask_id,
        task_id=task_id,
        plugin=plugin,
        created=created,
        attempts=attempts,
        status=status,
        pending=pending,
        state=state,
        since=since,
        tries=tries,
        why=why,
    )
