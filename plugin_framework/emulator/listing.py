"""What the page asks for: lists of subtasks, counts of them, and what has changed."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any, Final

from plugin_framework.emulator.subtasks import Subtask
from plugin_framework.protocol.models import TaskStatus

_COLUMNS: Final = (
    "number, subtask_id, task_id, plugin, service, status, requested, dispatch, reason, progress,"
    " config, input_name, input_size, input_key, final_report, created_at, started_at, ended_at,"
    " heartbeat_at, lost_at, revision"
)
_SEARCHED: Final = ("subtask_id", "task_id", "plugin", "input_name")


@dataclass(frozen=True, slots=True)
class Page:
    """Subtasks, newest first.

    ``total`` counts those on all pages; ``next`` is the ``before`` of the next page, if there is
    one.
    """

    subtasks: list[Subtask]
    total: int
    next: int | None


def page_of(
    sql: sqlite3.Connection,
    *,
    status: TaskStatus | None,
    before: int | None,
    limit: int,
    search: str,
) -> Page:
    """See ``Store.page_of_subtasks``."""
    where, values = _conditions(status, search)
    count = f"SELECT COUNT(*) FROM subtasks WHERE {where}"  # noqa: S608 - our own words alone
    total = int(sql.execute(count, values).fetchone()[0])
    values |= {"before": before, "limit": limit + 1}
    rows = sql.execute(
        f"SELECT {_COLUMNS} FROM subtasks WHERE {where}"  # noqa: S608 - as above
        f"{'' if before is None else ' AND number < :before'} ORDER BY number DESC LIMIT :limit",
        values,
    ).fetchall()
    shown = rows[:limit]
    more = len(rows) > limit and shown
    return Page([Subtask.of(row) for row in shown], total, shown[-1]["number"] if more else None)


def _conditions(status: TaskStatus | None, search: str) -> tuple[str, dict[str, Any]]:
    conditions, values = ["1"], dict[str, Any]()
    if status is not None:
        conditions.append("status = :status")
        values["status"] = int(status)
    if search:
        named = (f"{column} LIKE :search ESCAPE '\\'" for column in _SEARCHED)
        conditions.append(f"({' OR '.join(named)})")
        values["search"] = f"%{_escaped(search)}%"
    return " AND ".join(conditions), values


def _escaped(search: str) -> str:
    for special in ("\\", "%", "_"):
        search = search.replace(special, f"\\{special}")
    return search


def counts_of(sql: sqlite3.Connection) -> dict[TaskStatus, int]:
    """How many subtasks are in each status, also where there are none."""
    rows = sql.execute("SELECT status, COUNT(*) FROM subtasks GROUP BY status")
    return dict.fromkeys(TaskStatus, 0) | {TaskStatus(row[0]): row[1] for row in rows}


def changed_since(sql: sqlite3.Connection, revision: int, limit: int) -> list[Subtask]:
    """See ``Store.changed_since``."""
    rows = sql.execute(
        f"SELECT {_COLUMNS} FROM subtasks WHERE revision > ?"  # noqa: S608 - our own words alone
        " ORDER BY revision LIMIT ?",
        (revision, limit),
    )
    return [Subtask.of(row) for row in rows]


def newest_revision(sql: sqlite3.Connection) -> int:
    """The latest change's; 0 where there was none."""
    return int(sql.execute("SELECT COALESCE(MAX(revision), 0) FROM subtasks").fetchone()[0])
