"""What is in storage: blobs on disk, and the rows that give them keys.

A blob's file is named by a random id. Keys and file names are data, and never become paths.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from plugin_framework.emulator.database import Database
from plugin_framework.emulator.dialects import ObjectStoreError

_COPY_AT_ONCE: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Blob:
    """A file of stored bytes; ``etag`` is its MD5, quoted: dialects show it as they do."""

    blob: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a GET sees it; ``modified`` in Unix seconds."""

    path: Path
    size: int
    etag: str
    modified: float


class BlobWriter:
    """A new blob, its MD5 computed beside the writing. ``write`` is for one thread at a time."""

    def __init__(self, folder: Path) -> None:
        self._name = secrets.token_hex(16)
        self._path = folder / self._name
        self._file = self._path.open("xb", buffering=0)
        self._digest = hashlib.md5(usedforsecurity=False)
        self._size = 0

    def write(self, data: bytes | bytearray) -> None:
        """Append ``data``."""
        self._digest.update(data)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._size += len(data)

    def finish(self) -> Blob:
        """Close the file; the blob is the caller's to record or discard."""
        self._file.close()
        return Blob(self._name, self._size, f'"{self._digest.hexdigest()}"')

    def abandon(self) -> None:
        """Close the file and remove it."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class Objects:
    """The object store's content. Keys are unique in the one bucket there is."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)

    def writer(self) -> BlobWriter:
        """A new blob to write to."""
        return BlobWriter(self._folder)

    def path(self, blob: str) -> Path:
        """Where the blob's bytes are."""
        return self._folder / blob

    def link(self, source: Path) -> str:
        """Make a blob of a file without copying it; its size and ETag are read when asked for."""
        name = secrets.token_hex(16)
        source = source.resolve(strict=True)
        try:
            self.path(name).hardlink_to(source)
        except OSError:  # another file system, or a file that is not ours
            self.path(name).symlink_to(source)
        return name

    def find(self, key: str) -> StoredObject:
        """What a GET of ``key`` is about.

        Raises:
            ObjectStoreError: NoSuchKey.
        """
        with self._database.transaction() as sql:
            row = sql.execute("SELECT * FROM objects WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise ObjectStoreError.no_such_key(key)
        path = self.path(row["blob"])
        try:
            facts = path.stat()
        except OSError:
            raise ObjectStoreError.no_such_key(key) from None
        etag = _linked_etag(facts) if row["etag"] is None else row["etag"]
        return StoredObject(path, facts.st_size, etag, facts.st_mtime)

    def put(self, key: str, blob: Blob) -> None:
        """Store an object, in place of what was there.

        Raises:
            ObjectStoreError: NoSuchKey, where no upload to ``key`` was ever begun.
        """
        with self._database.transaction() as sql:
            check_single(sql, key)
            old = sql.execute("SELECT blob FROM objects WHERE key = ?", (key,)).fetchone()
            place(sql, key, blob)
        self._discard_row(old)

    def put_part(self, key: str, upload_id: str, number: int, blob: Blob) -> None:
        """Store a part, in place of what was there.

        Raises:
            ObjectStoreError: NoSuchUpload.
        """
        with self._database.transaction() as sql:
            check_multipart(sql, key, upload_id)
            old = sql.execute(
                "SELECT blob FROM parts WHERE upload_id = ? AND number = ?", (upload_id, number)
            ).fetchone()
            sql.execute(
                "INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?)",
                (upload_id, number, blob.blob, blob.size, blob.etag),
            )
        self._discard_row(old)

    def check_writable(self, key: str, upload_id: str | None) -> None:
        """Refuse early what ``put`` and ``put_part`` would refuse."""
        with self._database.transaction() as sql:
            if upload_id is None:
                check_single(sql, key)
            else:
                check_multipart(sql, key, upload_id)

    def join(self, parts: Sequence[Blob]) -> Blob:
        """Append all further parts to the first one's file, inside the kernel.

        Offsets are explicit and the parts' rows stay until the whole is recorded, so a join that
        was cut short is simply done again.
        """
        first, size = parts[0], 0
        with self.path(first.blob).open("r+b", buffering=0) as target:
            for part in parts:
                if part is not first:
                    _copy(self.path(part.blob), target.fileno(), at=size, size=part.size)
                size += part.size
            target.truncate(size)
        return Blob(first.blob, size, multipart_etag(parts))

    def discard(self, blob: str) -> None:
        """Remove a blob that no row speaks of any more. Readers that have it open go on."""
        self.path(blob).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what a server that was killed left half-written. For a starting server only."""
        with self._database.transaction() as sql:
            rows = sql.execute("SELECT blob FROM objects UNION SELECT blob FROM parts").fetchall()
        known = {row["blob"] for row in rows}
        for path in self._folder.iterdir():
            if path.name not in known:
                path.unlink()

    def _discard_row(self, row: sqlite3.Row | None) -> None:
        if row is not None:
            self.discard(row["blob"])


def place(sql: sqlite3.Connection, key: str, blob: Blob) -> None:
    """Give a blob its key."""
    sql.execute(
        "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)",
        (key, blob.blob, blob.size, blob.etag),
    )


def check_single(sql: sqlite3.Connection, key: str) -> None:
    """Refuse a PUT to a key that was not handed out for a single upload."""
    query = "SELECT 1 FROM uploads WHERE key = ? AND NOT multipart"
    if sql.execute(query, (key,)).fetchone() is None:
        raise ObjectStoreError.no_such_key(key)


def check_multipart(sql: sqlite3.Connection, key: str, upload_id: str) -> None:
    """Refuse a part of an upload that is unknown or completed."""
    query = (
        "SELECT 1 FROM uploads WHERE upload_id = ? AND key = ? AND multipart AND completed IS NULL"
    )
    if sql.execute(query, (upload_id, key)).fetchone() is None:
        raise ObjectStoreError.no_such_upload(upload_id)


def multipart_etag(parts: Sequence[Blob]) -> str:
    """S3's ETag of a multipart object: the MD5 of the parts' MD5s, and their number."""
    digest = hashlib.md5(usedforsecurity=False)
    for part in parts:
        digest.update(bytes.fromhex(part.etag.strip('"')))
    return f'"{digest.hexdigest()}-{len(parts)}"'


def _linked_etag(facts: os.stat_result) -> str:
    # Hashing a large input at every start would cost seconds; this changes when the file does.
    text = f"{facts.st_dev}.{facts.st_ino}.{facts.st_size}.{facts.st_mtime_ns}"
    return f'"{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}-1"'


def _copy(source: Path, target: int, *, at: int, size: int) -> None:
    with source.open("rb", buffering=0) as file:
        done = 0
        while done < size:
            count = min(size - done, _COPY_AT_ONCE)
            copied = os.copy_file_range(file.fileno(), target, count, done, at + done)
            if not copied:
                raise OSError(f"{source.name} is shorter than it was")
            done += copied
