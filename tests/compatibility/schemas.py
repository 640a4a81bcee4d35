"""What a database is made of, so that two can be compared."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

Schema = dict[tuple[str, str], list[str]]


def schema_of(database: Path) -> Schema:
    """Every table, index and trigger, as the words it was made with, and whose database it is.

    Columns count, their order, defaults, checks and foreign keys; comments and layout do not.
    """
    with closing(sqlite3.connect(database)) as db:
        made = db.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        found = {(kind, name): _words(sql) for kind, name, sql in made}
        (application,) = db.execute("PRAGMA application_id").fetchone()
    return found | {("pragma", "application_id"): [str(application)]}


def _words(sql: str) -> list[str]:
    uncommented = re.sub(r"--.*", "", sql)
    return re.findall(r"'[^']*'|\w+|[^\s\"]", uncommented)
