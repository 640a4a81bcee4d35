"""Parts of an upload, written where they belong: to make an object of them moves no bytes.

All parts of an upload share one file, in which each has its place by its number and the size that
was announced. A part that does not fit there, or that is sent again, gets a file of its own, and is
copied to its place when the upload is completed: so what was stored once is never harmed by what
comes after it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from plugin_framework.emulator.database import Database
from plugin_framework.emulator.dialects import ObjectStoreError
from plugin_framework.emulator.objects import BlobWriter, Objects, opened
from plugin_framework.emulator.pending import LIVE, Blob, StoredPart, Upload

_COPY_AT_ONCE: Final = 1 << 30


class PartWriter(BlobWriter):
    """Writes a part to its place in the file of its upload."""

    def __init__(self, path: Path, at: int, parts: Parts, upload_id: str, number: int) -> None:
        super().__init__(path, at)
        self._parts = parts
        self._claim = (upload_id, number)

    def abandon(self) -> None:
        """Leave the place to whoever sends the part again."""
        self._file.close()
        self._parts.release(*self._claim)


class Parts:
    """The parts of uploads that are not completed yet."""

    def __init__(self, database: Database, objects: Objects) -> None:
        self._database = database
        self._objects = objects

    def writer(self, key: str, upload_id: str, number: int, size: int) -> BlobWriter:
        """Where to write a part of ``size`` bytes.

        Raises:
            ObjectStoreError: NoSuchUpload.
        """
        with self._database.transaction() as sql:
            upload = _find(sql, key, upload_id)
            place = _claim(sql, upload, number, size)
        if place is None:
            return self._objects.writer()
        blob, at = place
        try:
            return PartWriter(self._objects.path(blob), at, self, upload_id, number)
        except BaseException:
            self.release(upload_id, number)
            raise

    def put(self, key: str, upload_id: str, number: int, blob: Blob) -> None:
        """Store a part, in place of what was there.

        Raises:
            ObjectStoreError: NoSuchUpload.
        """
        with self._database.transaction() as sql:
            upload = _find(sql, key, upload_id)
            old = sql.execute(
                "SELECT blob FROM parts WHERE upload_id = ? AND number = ?", (upload_id, number)
            ).fetchone()
            sql.execute(
                "INSERT OR REPLACE INTO parts (upload_id, number, blob, size, etag)"
                " VALUES (?, ?, ?, ?, ?)",
                (upload_id, number, blob.blob, blob.size, blob.etag),
            )
            if blob.blob == upload.whole:
                _release(sql, upload_id, number)
        if old is not None:
            self.discard([old["blob"]], but={upload.whole, blob.blob})

    def release(self, upload_id: str, number: int) -> None:
        """Nobody writes to that place any more."""
        with self._database.transaction() as sql:
            _release(sql, upload_id, number)

    def seal(self, sql: sqlite3.Connection, upload: Upload) -> tuple[Upload, bool]:
        """Have further parts go to files of their own.

        Returns the upload as it is now, and whether a part is still being written to its place.
        """
        query = "UPDATE uploads SET sealed = 1 WHERE upload_id = ? RETURNING *"
        row = sql.execute(query, (upload.upload_id,)).fetchone()
        query = "SELECT 1 FROM claims WHERE upload_id = ?"
        busy = sql.execute(query, (upload.upload_id,)).fetchone() is not None
        return Upload.of(row), busy

    def stored(self, sql: sqlite3.Connection, upload: Upload) -> list[StoredPart]:
        """What storage holds of the upload, by part number; a single object is its only part."""
        if upload.multipart:
            query = "SELECT * FROM parts WHERE upload_id = ? ORDER BY number"
            rows = sql.execute(query, (upload.upload_id,)).fetchall()
        else:
            query = "SELECT *, 1 AS number FROM objects WHERE key = ?"
            rows = sql.execute(query, (upload.key,)).fetchall()
        return [StoredPart(row["number"], row["size"], row["etag"], row["blob"]) for row in rows]

    def join(self, upload: Upload, parts: Sequence[StoredPart], *, busy: bool) -> Blob:
        """One file with all parts: where one is ``busy``, another than that of the upload.

        Until the whole is recorded all that it was made of stays as it is, so a join that was cut
        short is simply done again.
        """
        name = secrets.token_hex(16) if busy or not _fits(upload, parts) else upload.whole
        assert name is not None
        size = 0
        with opened(self._objects.path(name)) as target:
            for part in parts:
                if part.blob != name:
                    self._copy(upload, part, target.fileno(), size)
                size += part.size
            target.truncate(size)
        return Blob(name, size, multipart_etag(parts))

    def _copy(self, upload: Upload, part: StoredPart, target: int, at: int) -> None:
        start = place_of(upload, part.number) if part.blob == upload.whole else 0
        with self._objects.path(part.blob).open("rb", buffering=0) as file:
            done = 0
            while done < part.size:
                count = min(part.size - done, _COPY_AT_ONCE)
                # File systems that can share blocks between files do so here.
                copied = os.copy_file_range(file.fileno(), target, count, start + done, at + done)
                if not copied:
                    raise OSError(f"part {part.number} is shorter than it was")
                done += copied

    def forget(self, sql: sqlite3.Connection, upload: Upload) -> None:
        """Remove its rows."""
        sql.execute("DELETE FROM parts WHERE upload_id = ?", (upload.upload_id,))
        sql.execute("DELETE FROM claims WHERE upload_id = ?", (upload.upload_id,))

    def discard(self, blobs: Iterable[str | None], *, but: Iterable[str | None] = ()) -> None:
        """Remove files that no row speaks of any more."""
        for blob in {*blobs} - {*but}:
            if blob:
                self._objects.discard(blob)


def place_of(upload: Upload, number: int) -> int:
    """The offset that a part has, if all are of the size that was announced."""
    assert upload.chunk is not None
    return (number - 1) * upload.chunk


def _find(sql: sqlite3.Connection, key: str, upload_id: str) -> Upload:
    query = f"SELECT * FROM uploads WHERE upload_id = ? AND key = ? AND multipart AND {LIVE}"  # noqa: S608 - a constant
    row = sql.execute(query, (upload_id, key)).fetchone()
    if row is None:
        raise ObjectStoreError.no_such_upload(upload_id)
    return Upload.of(row)


def _claim(
    sql: sqlite3.Connection, upload: Upload, number: int, size: int
) -> tuple[str, int] | None:
    """The file and offset to write a part at; None if it is not free, or the part no fit."""
    if number > upload.parts or upload.chunk is None:
        return None
    at = place_of(upload, number)
    if size != min(upload.chunk, upload.size - at):
        return None
    sealed = sql.execute(
        "SELECT sealed FROM uploads WHERE upload_id = ?", (upload.upload_id,)
    ).fetchone()["sealed"]
    held = "SELECT 1 FROM parts WHERE upload_id = ? AND number = ? AND blob = ?"
    place = (upload.upload_id, number)
    if sealed or sql.execute(held, (*place, upload.whole)).fetchone():
        return None
    taken = "INSERT OR IGNORE INTO claims (upload_id, number) VALUES (?, ?)"
    if not sql.execute(taken, place).rowcount:
        return None
    return upload.whole or _make_whole(sql, upload), at


def _make_whole(sql: sqlite3.Connection, upload: Upload) -> str:
    name = secrets.token_hex(16)
    query = "UPDATE uploads SET whole = ? WHERE upload_id = ?"
    sql.execute(query, (name, upload.upload_id))
    return name


def _release(sql: sqlite3.Connection, upload_id: str, number: int) -> None:
    query = "DELETE FROM claims WHERE upload_id = ? AND number = ?"
    sql.execute(query, (upload_id, number))


def _fits(upload: Upload, parts: Sequence[StoredPart]) -> bool:
    """Whether every part that is in the upload's file is where it is to be at the end."""
    at = 0
    for part in parts:
        if part.blob == upload.whole and place_of(upload, part.number) != at:
            return False
        at += part.size
    return upload.whole is not None


def multipart_etag(parts: Sequence[StoredPart]) -> str:
    """S3's ETag of a multipart object: the MD5 of the parts' MD5s, and their number."""
    digest = hashlib.md5(usedforsecurity=False)
    for part in parts:
        digest.update(bytes.fromhex(part.etag.strip('"')))
    return f'"{digest.hexdigest()}-{len(parts)}"'
