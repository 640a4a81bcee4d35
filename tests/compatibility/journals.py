"""Journals of each format, as SQL: what an older release may have left behind.

``python -m tests.compatibility.journals`` writes the one of the newest format, once. Those that are
there are never written again: they stand for files on machines that nobody can ask.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from plugin_framework.journal.migrations import MIGRATIONS

FOLDER = Path(__file__).parent / "formats"
FORMATS = range(1, len(MIGRATIONS) + 1)
LONG_AGO = 1_760_000_000.0
CHUNK = 5 * 1024 * 1024
WORK = "work/half-a11ae06469c63740"
"""The folder of the subtask that goes on; without it, its saved state is of no use."""
RESULT, STATUS = "/api/task/result", "/api/task/update_status"
TOLD = {"total_counts": 3, "success_counts": 2, "failed_counts": 1, "note": "früher"}
PARTS = {1: '"0cc175b9c0f1b6a831c399e269772661"', 3: 'W/"odd-3"'}
URLS = [f"http://127.0.0.1:9/bucket/big.bin?partNumber={n}&X-Amz-Signature=canned" for n in (1, 2)]

Row = tuple[int, str, str, bytes, str | None, str]


def _body(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def dump_of(format_: int) -> Path:
    """Where the journal of a format is."""
    return FOLDER / f"journal-{format_}.sql"


def restore(format_: int, path: Path) -> None:
    """Make a journal file as a release of that format left it, and what stands beside it."""
    (path.parent / WORK / "output").mkdir(parents=True)
    with closing(sqlite3.connect(path)) as db:
        db.executescript(dump_of(format_).read_text(encoding="utf-8"))


def running(subtask_id: str, fate: str = "delivered") -> Row:
    """A report that a subtask runs."""
    return 1, STATUS, subtask_id, _body({"subtask_id": subtask_id, "status": 1}), None, fate


def completed(subtask_id: str, fate: str) -> Row:
    """A report of a result."""
    outcome: Mapping[str, Any] = {"result": TOLD, "outputs": [], "error": None, "attempt": 1}
    body = _body({"subtask_id": subtask_id, "result": TOLD})
    return 3, RESULT, subtask_id, body, json.dumps(outcome), fate


def failed(subtask_id: str, fate: str) -> Row:
    """A report of a failure."""
    outcome: Mapping[str, Any] = {"result": None, "outputs": [], "error": "it broke", "attempt": 1}
    body = _body({"subtask_id": subtask_id, "status": 5})
    return 5, STATUS, subtask_id, body, json.dumps(outcome), fate


REPORTS = (
    *(running("behind", "pending"), completed("behind", "pending")),
    *(running("broken"), failed("broken", "pending")),
    *(running("over"), completed("over", "delivered")),
    *(running("refused"), completed("refused", "refused")),
    running("half"),
)


def _fill(db: sqlite3.Connection, format_: int) -> None:
    subtasks = dict.fromkeys(row[2] for row in REPORTS)
    for name in subtasks:
        state = '{"line": 7, "of": "früher"}' if name == "half" else "{}"
        db.execute(
            "INSERT INTO subtasks VALUES (?, 'task', 'Resumes', '{\"times\": 2}', ?, ?)",
            (name, state, LONG_AGO),
        )
        db.execute("INSERT INTO attempts VALUES (?, 1, ?)", (name, LONG_AGO))
    for status, path, name, body, outcome, fate in REPORTS:
        settled = None if fate == "pending" else LONG_AGO + 9
        db.execute(
            "INSERT INTO reports (subtask_id, status, path, body, outcome, created, fate, settled)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (name, status, path, body, outcome, LONG_AGO + 8, fate, settled),
        )
    for least, fill in ((2, _uploads), (4, _outputs), (5, _queue), (6, _leases)):
        if format_ >= least:
            fill(db)


def _uploads(db: sqlite3.Connection) -> None:
    db.execute(
        "INSERT INTO events (subtask_id, at, kind, detail) VALUES ('half', ?, 'stalled', ?)",
        (LONG_AGO + 5, '{"seconds": 30}'),
    )
    db.execute(
        "INSERT INTO uploads (subtask_id, name, upload_id, size, chunk, urls)"
        " VALUES ('half', 'big.bin', 'u-1', ?, ?, ?)",
        (3 * CHUNK, CHUNK, json.dumps(URLS)),
    )
    for part, etag in PARTS.items():
        db.execute(
            "INSERT INTO upload_parts VALUES ('half', 'big.bin', ?, ?, ?)", (part, etag, f"{part}a")
        )


def _outputs(db: sqlite3.Connection) -> None:
    db.execute("UPDATE uploads SET part_size = ?", (CHUNK,))
    db.execute("INSERT INTO outputs VALUES ('over', 'out.csv', 12, ?)", ("ab" * 32,))


def _queue(db: sqlite3.Connection) -> None:
    for place, name in enumerate(("waits-1", "waits-2"), 1):
        db.execute(
            "INSERT INTO queue (place, subtask_id, task_id, plugin, config, wanted, accepted)"
            " VALUES (?, ?, 'task', 'Resumes', '{\"times\": 2}', ?, ?)",
            (place, name, place, LONG_AGO),
        )
    db.execute("INSERT INTO calls VALUES (-5000000000000000000, ?)", (LONG_AGO,))


def _leases(db: sqlite3.Connection) -> None:
    db.execute(
        "INSERT INTO leases (subtask_id, service, number, node, begun, state, changed)"
        " VALUES ('far', 'service', 2, 'node', 1, '{\"line\": 7}', ?)",
        (LONG_AGO,),
    )
    db.execute("INSERT INTO lease_outputs VALUES ('far', 'out.csv', 12, NULL)")
    db.execute("UPDATE queue SET node = 'node', attempt = 2 WHERE subtask_id = 'waits-2'")


def create(db: sqlite3.Connection, format_: int) -> None:
    """Make the tables of a format in an empty database."""
    for step in MIGRATIONS[:format_]:
        db.executescript(step)


def write(format_: int) -> None:
    """Write the journal of a format, unless it is there."""
    if dump_of(format_).exists():
        return
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        create(db, format_)
        _fill(db, format_)
        (application,) = db.execute("PRAGMA application_id").fetchone()
        lines = [
            f"PRAGMA application_id = {application};",
            f"PRAGMA user_version = {format_};",
            *db.iterdump(),
        ]
    dump_of(format_).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(FORMATS[-1])
