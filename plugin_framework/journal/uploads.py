"""What of a subtask's uploads is in storage already, so that the next attempt sends the rest.

The part URLs are credentials: they are kept only until the upload is complete or given up.

Everything here survives the process as soon as it is written. What must survive the machine, too:

- an upload of several parts before the first is sent, and each part before its thread takes the
  next: after a power cut nothing that took long is sent twice. Of a file of one part there is only
  that part to lose, so its rows do not wait for the disk: that wait is most of a small file's time.
- that ``ctx.upload`` is done, before it says so;
- all outputs before the result is sent. The terminal report waits for the disk, and with it goes
  all that was written to this file before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from plugin_framework.journal.database import Database, Readable


@dataclass(frozen=True, slots=True)
class KeptPart:
    """A stored part: its ETag verbatim, and a digest of its bytes."""

    etag: str
    digest: str


@dataclass(frozen=True, slots=True)
class KeptUpload:
    """An upload that was begun. Sizes are in bytes; parts count from 1.

    ``chunk`` is the size of a part that was asked for, 0 for a single upload; ``part_size`` is
    Datahub's own, 0 where it left it at that.
    """

    upload_id: str
    size: int
    chunk: int
    part_size: int
    urls: Sequence[str] = field(repr=False)
    parts: Mapping[int, KeptPart]
    completed: bool


@dataclass(frozen=True, slots=True)
class Output:
    """A file that is in storage: ``size`` in bytes, ``sha256`` in hex where it is known."""

    name: str
    size: int
    sha256: str | None


class Manifests:
    """The outputs of all subtasks, to read."""

    def __init__(self, database: Readable) -> None:
        self._read_from = database

    def outputs(self, subtask_id: str) -> list[Output]:
        """All files of a subtask that are in storage, by name, whichever attempt sent them."""
        with self._read_from.read() as db:
            rows = db.execute(
                "SELECT name, size, sha256 FROM outputs WHERE subtask_id = ? ORDER BY name",
                (subtask_id,),
            ).fetchall()
        return [Output(*row) for row in rows]


class UploadLog(Manifests):
    """The uploads of all subtasks, by subtask and file name."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._db = database

    def find(self, subtask_id: str, name: str) -> KeptUpload | None:
        """The last upload of that name, if it was begun."""
        key = (subtask_id, name)
        with self._db.read() as db:
            row = db.execute(
                "SELECT upload_id, size, chunk, part_size, urls, completed FROM uploads"
                " WHERE subtask_id = ? AND name = ?",
                key,
            ).fetchone()
            parts = db.execute(
                "SELECT part, etag, digest FROM upload_parts WHERE subtask_id = ? AND name = ?", key
            ).fetchall()
        if row is None:
            return None
        upload_id, size, chunk, part_size, urls, completed = row
        kept = {part: KeptPart(etag, digest) for part, etag, digest in parts}
        return KeptUpload(
            upload_id, size, chunk, part_size, json.loads(urls), kept, bool(completed)
        )

    def begin(
        self,
        subtask_id: str,
        name: str,
        *,
        upload_id: str,
        size: int,
        chunk: int,
        part_size: int = 0,
        urls: Sequence[str],
    ) -> None:
        """Note a new upload, in place of an earlier one of the same name.

        If Datahub renewed the same upload, what is stored of it stays.
        """
        with self._db.write(durable=chunk > 0, patient=True) as db:
            db.execute(
                "DELETE FROM uploads WHERE subtask_id = ? AND name = ? AND upload_id <> ?",
                (subtask_id, name, upload_id),
            )
            db.execute(
                "INSERT INTO uploads (subtask_id, name, upload_id, size, chunk, part_size, urls)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET size = excluded.size,"
                " chunk = excluded.chunk, part_size = excluded.part_size, urls = excluded.urls,"
                " completed = 0",
                (subtask_id, name, upload_id, size, chunk, part_size, json.dumps(list(urls))),
            )

    def keep(
        self,
        subtask_id: str,
        name: str,
        upload_id: str,
        index: int,
        part: KeptPart,
        *,
        several: bool,
    ) -> None:
        """Note that a part is stored, unless another upload has taken its upload's place.

        ``several``: it is one of several.
        """
        with self._db.write(durable=several, patient=True) as db:
            db.execute(
                "INSERT OR REPLACE INTO upload_parts (subtask_id, name, part, etag, digest)"
                " SELECT subtask_id, name, ?, ?, ? FROM uploads"
                " WHERE subtask_id = ? AND name = ? AND upload_id = ?",
                (index, part.etag, part.digest, subtask_id, name, upload_id),
            )

    def complete(self, subtask_id: str, output: Output, upload_id: str, *, durable: bool) -> None:
        """List an output that is complete, and forget the URLs of its upload.

        If another upload has taken its upload's place, that one is as incomplete as before.
        """
        with self._db.write(durable=durable, patient=True) as db:
            db.execute(
                "UPDATE uploads SET completed = 1, urls = '[]'"
                " WHERE subtask_id = ? AND name = ? AND upload_id = ?",
                (subtask_id, output.name, upload_id),
            )
            db.execute(
                "INSERT OR REPLACE INTO outputs (subtask_id, name, size, sha256)"
                " VALUES (?, ?, ?, ?)",
                (subtask_id, output.name, output.size, output.sha256),
            )

    def forget(self, subtask_id: str) -> None:
        """The subtask has ended: to its uploads there is nothing to add. The outputs stay."""
        with self._db.write() as db:
            deleted = db.execute("DELETE FROM uploads WHERE subtask_id = ?", (subtask_id,)).rowcount
        if deleted:
            self._db.empty_log()
