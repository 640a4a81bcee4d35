"""Whose database a file is, found out without changing anything of it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

APPLICATION_ID = 0x4448504A
"""In the header of journals since format 3; before that it was 0."""
HEADER_SIZE = 100
"""Bytes. A shorter file is no database, and SQLite would remove the log beside an empty one."""
LARGEST_EMPTY = 1
"""Bytes. SQLite takes a file of a single one for empty, too."""
_TABLES = {"subtasks", "attempts", "reports"}


def foreign(path: Path, *, newest: int) -> str | None:
    """What ``written_by_others`` says of a file; None also for what is no database."""
    try:
        if path.stat().st_size < HEADER_SIZE:
            return None
        with closing(open_unchanged(path, seconds=0)) as db:
            return written_by_others(db, newest=newest)
    except (OSError, sqlite3.Error):
        return None  # who opens it to use it will find out


def written_by_others(db: sqlite3.Connection, *, newest: int) -> str | None:
    """Why a database is none of ours, or ``newer``; None for a journal, and for an empty one."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
    if application not in {0, APPLICATION_ID}:
        return f"a database of application {application % 2**32:#010x}"
    begun = not tables and version == 0
    if application == 0 and not begun and not tables >= _TABLES:
        return "a database of another application"
    if version < 0:
        return f"its format is {version}"
    return "newer" if version > newest else None


def open_unchanged(path: Path, *, seconds: float) -> sqlite3.Connection:
    """Open a database to read it, and neither change nor make a file.

    Whoever has a journal open has a log and an index of it beside it: without, it stays as it is.
    """
    quiet = not has_log(path) and not Path(f"{path}-shm").exists()
    name = quote(os.fsencode(path.absolute()))
    return sqlite3.connect(
        f"file:{name}?mode=ro{'&immutable=1' if quiet else ''}",
        uri=True,
        timeout=seconds,
        isolation_level=None,
        check_same_thread=False,
    )


def has_log(path: Path) -> bool:
    """Whether something is in the log beside a database that may not be in itself yet."""
    log = Path(f"{path}-wal")
    return log.exists() and log.stat().st_size > 0
