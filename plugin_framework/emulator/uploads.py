"""Begins and completes uploads, wherever their bytes go (PROTOCOL.md, 1.1 to 1.3)."""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from plugin_framework.emulator.backend import Backend
from plugin_framework.emulator.database import Database
from plugin_framework.emulator.pending import LIVE, Upload, insert, manifest_of
from plugin_framework.emulator.rules import BAD_REQUEST, Refused
from plugin_framework.emulator.subtasks import find, find_open, record, recorded
from plugin_framework.protocol.models import MAXIMUM_PARTS, UploadCompletion, UploadRequest

_DEAD: Final = f"""
SELECT uploads.* FROM uploads JOIN subtasks USING (subtask_id) WHERE {LIVE} AND status >= 3
"""  # noqa: S608 - a constant

_STRIPES: Final = 64
"""Completions of different uploads at once, mostly."""


class Uploads:
    """Keeps the book of uploads; ``backend`` has their bytes."""

    def __init__(self, database: Database, backend: Backend) -> None:
        self._database = database
        self._backend = backend
        self._completing = [threading.Lock() for _ in range(_STRIPES)]

    def begin(self, request: UploadRequest) -> Upload:
        """Begin an upload under a key of its own.

        Raises:
            Refused: unknown or ended subtask; with code 400 for what no upload can be, and with
                500 where the store does not answer.
        """
        _check_request(request)
        upload = Upload(
            upload_id=f"upload_{secrets.token_hex(12)}",
            subtask_id=request.subtask_id,
            key=self._backend.new_key(),
            name=request.file_name,
            size=request.file_size,
            parts=_part_count(request),
            multipart=request.chunk_size is not None,
            chunk=request.chunk_size,
        )
        detail = {"name": upload.name, "size": upload.size, "parts": upload.parts}
        upload = self._begun(upload, detail)
        try:
            with recorded(self._database, upload.subtask_id, "upload_init", detail) as sql:
                find_open(sql, upload.subtask_id)
                insert(sql, upload)
        except Refused:
            with suppress(Refused):  # what the plugin is told is why it was refused
                self._backend.abort(upload)
            raise
        return upload

    def _begun(self, upload: Upload, detail: dict[str, object]) -> Upload:
        """The same, begun at the store: outside of any transaction, for that may take a while."""
        try:
            return replace(upload, store_id=self._backend.begin(upload))
        except Refused as refused:
            with self._database.transaction() as sql:
                record(sql, upload.subtask_id, "upload_init", detail, refused)
            raise

    def find(self, upload_id: str) -> Upload:
        """The upload of that id.

        Raises:
            Refused: there is none.
        """
        with self._database.reading() as sql:
            row = sql.execute("SELECT * FROM uploads WHERE upload_id = ?", (upload_id,)).fetchone()
        if row is None:
            raise Refused("unknown upload")
        return Upload.of(row)

    def complete(self, completion: UploadCompletion, etag: Callable[[str], str] = str) -> str:
        """Make the object out of its parts, and return its key. A repeat is answered the same.

        ``etag`` shows a stored ETag as storage showed it to the plugin.

        Raises:
            Refused: another upload's or subtask's, or parts that are not what is stored.
        """
        try:
            # A second completion of the same upload must find the first one's work.
            with self._completing[hash(completion.upload_id) % _STRIPES]:
                return self._complete(completion, etag)
        except Refused as refused:
            detail = {"upload_id": completion.upload_id}
            with self._database.transaction() as sql:
                record(sql, completion.subtask_id, "upload", detail, refused)
            raise

    def _complete(self, completion: UploadCompletion, etag: Callable[[str], str]) -> str:
        manifest = manifest_of(completion.parts)
        with self._database.transaction() as sql:
            upload = _find(sql, completion)
            if upload.manifest is not None:
                return _repeated(upload, manifest)
            find_open(sql, upload.subtask_id)
        # Outside of the transaction: a store takes seconds, and heartbeats must not wait for it.
        gathered = self._backend.gather(upload, completion.parts, etag)
        try:
            with self._database.transaction() as sql:
                find_open(sql, upload.subtask_id)
                self._backend.settle(sql, upload, gathered)
                _finish(sql, upload, manifest)
        except Refused:
            with suppress(Refused):
                self._backend.undo(upload, gathered)
            raise
        self._backend.tidy(upload, gathered)
        return upload.key

    def clear(self, subtask_id: str | None = None) -> None:
        """Remove from storage what came for uploads that can no longer be completed.

        These are the ones of a subtask that has ended, or of all of them. What a store does not
        let go of now is left to the next call.
        """
        for upload in self._dead(subtask_id):
            # First, so that nothing more comes for it.
            self._mark(upload, cleared=True)
            try:
                self._backend.abort(upload)
            except Refused:
                self._mark(upload, cleared=False)

    def _dead(self, subtask_id: str | None) -> list[Upload]:
        query = _DEAD if subtask_id is None else f"{_DEAD} AND subtask_id = :subtask_id"
        with self._database.reading() as sql:
            return [Upload.of(row) for row in sql.execute(query, {"subtask_id": subtask_id})]

    def _mark(self, upload: Upload, *, cleared: bool) -> None:
        query = "UPDATE uploads SET cleared = ? WHERE upload_id = ?"
        with self._database.transaction() as sql:
            sql.execute(query, (cleared, upload.upload_id))


def _check_request(request: UploadRequest) -> None:
    if not request.file_name:
        raise Refused("file_name is empty", BAD_REQUEST)
    if _part_count(request) > MAXIMUM_PARTS:
        raise Refused(f"more than {MAXIMUM_PARTS} parts", BAD_REQUEST)


def _part_count(request: UploadRequest) -> int:
    if request.chunk_size is None:
        return 1
    return max(1, -(-request.file_size // request.chunk_size))


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


def _finish(sql: sqlite3.Connection, upload: Upload, manifest: str) -> None:
    query = (
        "UPDATE uploads SET manifest = ?,"
        " completed = (SELECT COALESCE(MAX(completed), 0) + 1 FROM uploads) WHERE upload_id = ?"
    )
    sql.execute(query, (manifest, upload.upload_id))
    detail = {"name": upload.name, "size": upload.size, "parts": upload.parts}
    record(sql, upload.subtask_id, "upload", detail)
