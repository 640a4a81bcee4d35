"""Log lines of subtasks: data for people, of which no state depends but the reason of a failure."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

LINES_KEPT: Final = 2000
"""Newest lines of a subtask."""

LONGEST_LINE: Final = 16_384
"""Characters."""

LONGEST_REASON: Final = 1000
"""Characters."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line, ``at`` Unix seconds; ``level`` as logging names it. ``number`` grows, 0: not kept."""

    at: float
    level: str
    logger: str
    message: str
    number: int = 0


def add_lines(sql: sqlite3.Connection, subtask_id: str, lines: Iterable[LogLine]) -> None:
    """Keep the lines, and forget those that are too old."""
    sql.executemany(
        "INSERT INTO logs (subtask_id, at, level, logger, message) VALUES (?, ?, ?, ?, ?)",
        [
            (subtask_id, line.at, line.level, line.logger, _cut(line.message, LONGEST_LINE))
            for line in lines
        ],
    )
    sql.execute(
        "DELETE FROM logs WHERE subtask_id = :id AND number <= (SELECT number FROM logs"
        " WHERE subtask_id = :id ORDER BY number DESC LIMIT 1 OFFSET :kept)",
        {"id": subtask_id, "kept": LINES_KEPT},
    )
    explain(sql, subtask_id)


def explain(sql: sqlite3.Connection, subtask_id: str) -> None:
    """Have the newest error in the log as the reason of a failure that has none.

    No call of the protocol takes a failure's reason (PROTOCOL.md, part 3).
    """
    sql.execute(
        "UPDATE subtasks SET reason = (SELECT SUBSTR(message, 1, :longest) FROM logs"
        " WHERE subtask_id = :id AND level IN ('ERROR', 'CRITICAL') ORDER BY number DESC LIMIT 1)"
        " WHERE subtask_id = :id AND status = 5 AND reason IS NULL",
        {"id": subtask_id, "longest": LONGEST_REASON},
    )


def lines_of(
    sql: sqlite3.Connection, subtask_id: str, after: int = 0, limit: int = -1
) -> list[LogLine]:
    """The lines since ``after``, oldest first; -1: all of them."""
    rows = sql.execute(
        "SELECT * FROM logs WHERE subtask_id = ? AND number > ? ORDER BY number LIMIT ?",
        (subtask_id, after, limit),
    )
    return [
        LogLine(row["at"], row["level"], row["logger"], row["message"], row["number"])
        for row in rows
    ]


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}..."
