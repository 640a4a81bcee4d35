"""What of a subtask's uploads is in storage already, so that the next attempt sends the rest.

The part URLs are credentials: they are kept only until the upload is complete or given up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from plugin_framework.journal.database import Database


@dataclass(frozen=True, slots=True)
class KeptPart:
    """A stored part: its ETag verbatim, and a digest of its bytes."""

    etag: str
    digest: str


@dataclass(frozen=True, slots=True)
class KeptUpload:
    """An upload that was begun. ``size`` and ``chunk`` are in bytes; parts count from 1."""

    upload_id: str
    size: int
    chunk: int
    urls: Sequence[str] = field(repr=False)
    parts: Mapping[int, KeptPart]
    completed: bool


class UploadLog:
    """The uploads of all subtasks, by subtask and file name."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def find(self, subtask_id: str, name: str) -> KeptUpload | None:
        """The last upload of that name, if it was begun."""
        key = (subtask_id, name)
        with self._db.read() as db:
            row = db.execute(
                "SELECT upload_id, size, chunk, urls, completed FROM uploads"
                " WHERE subtask_id = ? AND name = ?",
                key,
            ).fetchone()
            parts = db.execute(
                "SELECT part, etag, digest FROM upload_parts WHERE subtask_id = ? AND name = ?", key
            ).fetchall()
        if row is None:
            return None
        upload_id, size, chunk, urls, completed = row
        kept = {part: KeptPart(etag, digest) for part, etag, digest in parts}
        return KeptUpload(upload_id, size, chunk, json.loads(urls), kept, bool(completed))

    def begin(
        self,
        subtask_id: str,
        name: str,
        *,
        upload_id: str,
        size: int,
        chunk: int,
        urls: Sequence[str],
    ) -> None:
        """Note a new upload, in place of an earlier one of the same name."""
        with self._db.write() as db:
            db.execute("DELETE FROM uploads WHERE subtask_id = ? AND name = ?", (subtask_id, name))
            db.execute(
                "INSERT INTO uploads (subtask_id, name, upload_id, size, chunk, urls)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (subtask_id, name, upload_id, size, chunk, json.dumps(list(urls))),
            )

    def keep(self, subtask_id: str, name: str, upload_id: str, index: int, part: KeptPart) -> None:
        """Note that a part is stored, unless another upload has taken its upload's place."""
        with self._db.write() as db:
            db.execute(
                "INSERT OR REPLACE INTO upload_parts (subtask_id, name, part, etag, digest)"
                " SELECT subtask_id, name, ?, ?, ? FROM uploads"
                " WHERE subtask_id = ? AND name = ? AND upload_id = ?",
                (index, part.etag, part.digest, subtask_id, name, upload_id),
            )

    def complete(self, subtask_id: str, name: str) -> None:
        """Note that an upload is complete; its URLs are forgotten."""
        with self._db.write() as db:
            db.execute(
                "UPDATE uploads SET completed = 1, urls = '[]' WHERE subtask_id = ? AND name = ?",
                (subtask_id, name),
            )

    def forget(self, subtask_id: str) -> None:
        """The subtask has ended: nothing of its uploads is needed any more."""
        with self._db.write() as db:
            db.execute("DELETE FROM uploads WHERE subtask_id = ?", (subtask_id,))
