"""What is in storage: blobs on disk, and the rows that give them keys.

A blob's file is named by a random id. Keys and file names are data, and never become paths.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
import time
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from plugin_framework.emulator.database import Database
from plugin_framework.emulator.dialects import ObjectStoreError
from plugin_framework.emulator.pending import LIVE, Blob, place

_KNOWN = f"""
SELECT blob FROM objects
UNION SELECT blob FROM parts JOIN uploads USING (upload_id) WHERE {LIVE}
UNION SELECT whole FROM uploads WHERE whole IS NOT NULL AND {LIVE}
"""  # noqa: S608 - constants


_LINK = "link-"
LINK_SECONDS = 60.0
"""How long after a file was linked its row may take to come."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a GET sees it; ``modified`` in Unix seconds."""

    path: Path
    size: int
    etag: str
    modified: float


class BlobWriter:
    """Writes bytes to a file from ``at`` on, their MD5 computed beside it.

    ``write`` is for one thread at a time.
    """

    def __init__(self, path: Path, at: int = 0) -> None:
        self._path = path
        self._at = at
        self._file = opened(path)
        self._digest = hashlib.md5(usedforsecurity=False)
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append ``data``."""
        self._digest.update(data)
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._file.fileno(), rest, self._at + self._size)
            self._size += written
            rest = rest[written:]

    def finish(self) -> Blob:
        """Close the file; the blob is the caller's to record or discard."""
        self._file.close()
        return Blob(self._path.name, self._size, f'"{self._digest.hexdigest()}"')

    def abandon(self) -> None:
        """Close the file and remove it, be it finished or not."""
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
        return BlobWriter(self.path(secrets.token_hex(16)))

    def path(self, blob: str) -> Path:
        """Where the blob's bytes are."""
        return self._folder / blob

    def link(self, source: Path) -> str:
        """Make a blob of a file without copying it; its size and ETag are read when asked for."""
        name = f"{_LINK}{secrets.token_hex(16)}"
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
        with self._database.reading() as sql:
            row = sql.execute("SELECT * FROM objects WHERE key = ?", (key,)).fetchone()
        if row is None or not row["blob"]:
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
            ObjectStoreError: NoSuchKey, where no upload to ``key`` was ever begun; AccessDenied,
                where it was completed.
        """
        with self._database.transaction() as sql:
            check_single(sql, key)
            old = sql.execute("SELECT blob FROM objects WHERE key = ?", (key,)).fetchone()
            place(sql, key, blob)
        self._discard_row(old)

    def check_writable(self, key: str) -> None:
        """Refuse early what ``put`` would refuse."""
        with self._database.reading() as sql:
            check_single(sql, key)

    def remove(self, key: str) -> None:
        """Remove an object, if it is there."""
        with self._database.transaction() as sql:
            query = "DELETE FROM objects WHERE key = ? RETURNING blob"
            row = sql.execute(query, (key,)).fetchone()
        self._discard_row(row)

    def discard(self, blob: str) -> None:
        """Remove a blob that no row speaks of any more. Readers that have it open go on."""
        self.path(blob).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what a server that was killed left half-written. For a starting server only."""
        with self._database.transaction() as sql:
            sql.execute("DELETE FROM claims")
            known = {row["blob"] for row in sql.execute(_KNOWN)}
        for path in self._folder.iterdir():
            if path.name not in known and not _may_be_named_yet(path):
                path.unlink()

    def _discard_row(self, row: sqlite3.Row | None) -> None:
        if row is not None:
            self.discard(row["blob"])


def _may_be_named_yet(path: Path) -> bool:
    """Whether another process may just be creating a subtask with this link for its input."""
    return path.name.startswith(_LINK) and time.time() - path.lstat().st_ctime < LINK_SECONDS


def opened(path: Path) -> FileIO:
    """A file to write to at any place; made, if it is not there, and never emptied."""
    return FileIO(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")


def check_single(sql: sqlite3.Connection, key: str) -> None:
    """Refuse a PUT to a key that was not handed out for a single upload, or is done with.

    What was acknowledged as complete stays as it was, though its URL is good for a while.
    """
    query = "SELECT completed FROM uploads WHERE key = ? AND NOT multipart AND NOT cleared"
    row = sql.execute(query, (key,)).fetchone()
    if row is None:
        raise ObjectStoreError.no_such_key(key)
    if row["completed"] is not None:
        raise ObjectStoreError(403, "AccessDenied", "The upload of this object is completed.")


def _linked_etag(facts: os.stat_result) -> str:
    # Hashing a large input at every start would cost seconds; this changes when the file does.
    text = f"{facts.st_dev}.{facts.st_ino}.{facts.st_size}.{facts.st_mtime_ns}"
    return f'"{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}-1"'
