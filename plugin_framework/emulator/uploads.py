"""Uploads as Datahub keeps them: begun, sent to storage, completed (PROTOCOL.md, 1.1 to 1.3)."""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from plugin_framework.emulator.database import Database
from plugin_framework.emulator.objects import Blob, Objects, place
from plugin_framework.emulator.rules import BAD_REQUEST, Refused
from plugin_framework.emulator.subtasks import find, find_open, record, recorded
from plugin_framework.protocol.models import (
    MAXIMUM_PARTS,
    CompletedPart,
    UploadCompletion,
    UploadRequest,
)


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload to ``key``; ``size`` in bytes, ``manifest`` what it was completed with."""

    upload_id: str
    subtask_id: str
    key: str
    name: str
    size: int
    parts: int
    multipart: bool
    manifest: str | None = None

    @classmethod
    def of(cls, row: sqlite3.Row) -> Upload:
        """Read a row of the table."""
        return cls(
            upload_id=row["upload_id"],
            subtask_id=row["subtask_id"],
            key=row["key"],
            name=row["name"],
            size=row["size"],
            parts=row["parts"],
            multipart=bool(row["multipart"]),
            manifest=row["manifest"],
        )


class Uploads:
    """Begins and completes uploads."""

    def __init__(self, database: Database, objects: Objects, minimum_part: int) -> None:
        self._database = database
        self._objects = objects
        self._minimum_part = minimum_part
        self._completing = threading.Lock()

    def begin(self, request: UploadRequest) -> Upload:
        """Begin an upload under a key of its own.

        Raises:
            Refused: unknown or ended subtask; with code 400 for what no upload can be.
        """
        _check_request(request)
        upload = Upload(
            upload_id=f"upload_{secrets.token_hex(12)}",
            subtask_id=request.subtask_id,
            key=secrets.token_hex(16),
            name=request.file_name,
            size=request.file_size,
            parts=_part_count(request),
            multipart=request.chunk_size is not None,
        )
        detail = {"name": upload.name, "size": upload.size, "parts": upload.parts}
        with recorded(self._database, upload.subtask_id, "upload_init", detail) as sql:
            find_open(sql, upload.subtask_id)
            _insert(sql, upload)
        return upload

    def complete(self, completion: UploadCompletion, etag: Callable[[str], str] = str) -> str:
        """Make the object out of its parts, and return its key. A repeat is answered the same.

        ``etag`` shows a stored ETag as storage showed it to the plugin.

        Raises:
            Refused: another upload's or subtask's, or parts that are not what is stored.
        """
        try:
            # One at a time: a second completion of the same upload must find the first one's work.
            with self._completing:
                return self._complete(completion, etag)
        except Refused as refused:
            detail = {"upload_id": completion.upload_id}
            with self._database.transaction() as sql:
                record(sql, completion.subtask_id, "upload", detail, refused)
            raise

    def _complete(self, completion: UploadCompletion, etag: Callable[[str], str]) -> str:
        manifest = json.dumps([(part.index, part.etag) for part in completion.parts])
        with self._database.transaction() as sql:
            upload = _find(sql, completion)
            if upload.manifest is not None:
                return _repeated(upload, manifest)
            find_open(sql, upload.subtask_id)
            stored = _stored(sql, upload)
        _check_parts(upload, [etag(part.etag) for part in stored], completion.parts)
        _check_sizes(upload, [part.size for part in stored], self._minimum_part)
        # Outside the transaction: a large file takes seconds, and heartbeats must not wait for it.
        whole = self._objects.join(stored) if upload.multipart else stored[0]
        with self._database.transaction() as sql:
            find_open(sql, upload.subtask_id)
            if _stored(sql, upload) != stored:
                raise Refused("a part was replaced while the upload was completed")
            _finish(sql, upload, whole, manifest)
        for part in stored[1:]:
            self._objects.discard(part.blob)
        return upload.key


def _check_request(request: UploadRequest) -> None:
    if not request.file_name:
        raise Refused("file_name is empty", BAD_REQUEST)
    if _part_count(request) > MAXIMUM_PARTS:
        raise Refused(f"more than {MAXIMUM_PARTS} parts", BAD_REQUEST)


def _part_count(request: UploadRequest) -> int:
    if request.chunk_size is None:
        return 1
    return max(1, -(-request.file_size // request.chunk_size))


def _insert(sql: sqlite3.Connection, upload: Upload) -> None:
    sql.execute(
        "INSERT INTO uploads (upload_id, subtask_id, key, name, size, parts, multipart)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            upload.upload_id,
            upload.subtask_id,
            upload.key,
            upload.name,
            upload.size,
            upload.parts,
            upload.multipart,
        ),
    )


def _find(sql: sqlite3.Connection, completion: UploadCompletion) -> Upload:
    find(sql, completion.subtask_id)
    row = sql.execute(
        "SELECT * FROM uploads WHERE upload_id = ? AND subtask_id = ?",
        (completion.upload_id, completion.subtask_id),
    ).fetchone()
    if row is None:
        raise Refused("unknown upload")
    return Upload.of(row)


def _repeated(upload: Upload, manifest: str) -> str:
    if upload.manifest != manifest:
        raise Refused("the upload is already completed, with other parts")
    return upload.key


def _stored(sql: sqlite3.Connection, upload: Upload) -> list[Blob]:
    """What storage holds of the upload, by part number; a gap ends the list."""
    if upload.multipart:
        query = "SELECT * FROM parts WHERE upload_id = ? ORDER BY number"
        rows = sql.execute(query, (upload.upload_id,)).fetchall()
        rows = [row for place, row in enumerate(rows, 1) if row["number"] == place]
    else:
        rows = sql.execute("SELECT * FROM objects WHERE key = ?", (upload.key,)).fetchall()
    return [Blob(row["blob"], row["size"], row["etag"]) for row in rows]


def _check_parts(upload: Upload, etags: Sequence[str], given: Sequence[CompletedPart]) -> None:
    if [part.index for part in given] != list(range(1, upload.parts + 1)):
        raise Refused(f"InvalidPartOrder: parts must be 1 to {upload.parts}, in order")
    for part in given:
        if part.index > len(etags) or etags[part.index - 1] != part.etag:
            raise Refused(f"InvalidPart: part {part.index} is missing or has another ETag")


def _check_sizes(upload: Upload, sizes: Sequence[int], minimum: int) -> None:
    if any(size < minimum for size in sizes[: upload.parts - 1]):
        raise Refused(f"EntityTooSmall: a part but the last is smaller than {minimum} bytes")
    if sum(sizes) != upload.size:
        raise Refused(f"the parts hold {sum(sizes)} bytes; file_size said {upload.size}")


def _finish(sql: sqlite3.Connection, upload: Upload, whole: Blob, manifest: str) -> None:
    place(sql, upload.key, whole)
    sql.execute("DELETE FROM parts WHERE upload_id = ?", (upload.upload_id,))
    sql.execute(
        "UPDATE uploads SET manifest = ?, completed = (SELECT COALESCE(MAX(completed), 0) + 1"
        " FROM uploads)"
        " WHERE upload_id = ?",
        (manifest, upload.upload_id),
    )
    detail = {"name": upload.name, "size": upload.size, "parts": upload.parts}
    record(sql, upload.subtask_id, "upload", detail)
