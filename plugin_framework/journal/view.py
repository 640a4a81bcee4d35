"""A journal that may not be written, to look at: another user's, or one on a read-only disk."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from plugin_framework.errors import Code, JournalError
from plugin_framework.journal.database import (
    BUSY_SECONDS,
    SCHEMA_VERSION,
    Readable,
    connect,
    format_of,
    migrate,
)
from plugin_framework.journal.health import emptied
from plugin_framework.journal.journal import Journal
from plugin_framework.journal.ownership import LARGEST_EMPTY, has_log, open_unchanged
from plugin_framework.journal.records import Records
from plugin_framework.journal.timeline import Events
from plugin_framework.journal.uploads import Manifests


class View:
    """What there is in a journal. Neither it nor anything near it is changed.

    Raises:
        JournalError: at opening and at every use, when the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._db = _Unchanged(path)
        self.timeline: Events = Events(self._db)
        self.records: Records = Records(self._db)
        self.uploads: Manifests = Manifests(self._db)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def open_to_look(path: Path) -> Journal | View:
    """The journal, ready for use; a view of it where this user may not write it."""
    folder = next(one for one in path.parents if os.access(one, os.F_OK))
    writable = os.access(folder, os.W_OK | os.X_OK) and (
        not os.access(path, os.F_OK) or os.access(path, os.R_OK | os.W_OK)
    )
    return Journal(path) if writable else View(path)


class _Unchanged(Readable):
    """A journal as it stands; one that must be changed to be read is copied for that."""

    def close(self) -> None:
        super().close()
        self._copies.close()

    def _found_damaged(self) -> None:
        """Who may write it finds out."""

    def _open(self) -> sqlite3.Connection:
        with ExitStack() as copies:
            db = self._as_it_stands(copies)
            self._copies = copies.pop_all()
            return db

    def _as_it_stands(self, copies: ExitStack) -> sqlite3.Connection:
        if not self.path.exists():
            return _renewed(None)
        if loss := emptied(self.path):
            raise JournalError(
                f"the journal {self.path} is damaged ({loss})", code=Code.JOURNAL_DAMAGED
            )
        if self.path.stat().st_size <= LARGEST_EMPTY:
            return _renewed(None)
        # SQLite does not say why it cannot open a file.
        self.path.open("rb").close()
        db = self._opened(copies)
        try:
            if format_of(db) == SCHEMA_VERSION:
                return db
            return _renewed(db)
        except BaseException:
            db.close()
            raise

    def _opened(self, copies: ExitStack) -> sqlite3.Connection:
        if not has_log(self.path) or os.access(f"{self.path}-shm", os.R_OK):
            return open_unchanged(self.path, seconds=BUSY_SECONDS)
        # Its log was left by one that was killed, without the index that reading it needs.
        copy = Path(copies.enter_context(TemporaryDirectory()), self.path.name)
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{self.path}{suffix}", f"{copy}{suffix}")
        return connect(copy)


def _renewed(older: sqlite3.Connection | None) -> sqlite3.Connection:
    """What is in an older journal, or nothing, in this framework's format and in memory."""
    db = connect(":memory:")
    if older is not None:
        older.backup(db)
        older.close()
    migrate(db)
    return db
