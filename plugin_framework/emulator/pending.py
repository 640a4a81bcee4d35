"""An upload as Datahub keeps it, and what it must be to be completed (PROTOCOL.md, 1.1 to 1.3)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from plugin_framework.emulator.rules import Refused
from plugin_framework.protocol.models import CompletedPart

LIVE: Final = "completed IS NULL AND NOT cleared"
"""Of the table of uploads: those that go on."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload to ``key``; ``size`` in bytes, ``manifest`` what it was completed with.

    ``chunk`` is bytes per part, where it is one of parts. ``whole`` is the file that takes these,
    where they come here; ``store_id`` a real store's own id of it, which no plugin gets to see.
    ``asked`` is what that store was asked to complete it with.
    """

    upload_id: str
    subtask_id: str
    key: str
    name: str
    size: int
    parts: int
    multipart: bool
    chunk: int | None
    manifest: str | None = None
    whole: str | None = None
    store_id: str | None = None
    asked: str | None = None

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
            chunk=row["chunk"],
            manifest=row["manifest"],
            whole=row["whole"],
            store_id=row["store_id"],
            asked=row["asked"],
        )


@dataclass(frozen=True, slots=True)
class Blob:
    """A file of stored bytes; ``etag`` is its MD5, quoted: dialects show it as they do."""

    blob: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part that storage holds; ``blob`` is empty where it is in a real store."""

    number: int
    size: int
    etag: str
    blob: str = ""


def insert(sql: sqlite3.Connection, upload: Upload) -> None:
    """Add an upload that was begun."""
    sql.execute(
        "INSERT INTO uploads (upload_id, subtask_id, key, name, size, parts, multipart, chunk,"
        " store_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            upload.upload_id,
            upload.subtask_id,
            upload.key,
            upload.name,
            upload.size,
            upload.parts,
            upload.multipart,
            upload.chunk,
            upload.store_id,
        ),
    )


def place(sql: sqlite3.Connection, key: str, blob: Blob) -> None:
    """Give a blob its key."""
    sql.execute(
        "INSERT OR REPLACE INTO objects (key, blob, size, etag) VALUES (?, ?, ?, ?)",
        (key, blob.blob, blob.size, blob.etag),
    )


def manifest_of(parts: Iterable[CompletedPart]) -> str:
    """What an upload is completed with, to be told from another completion of it."""
    return json.dumps([(part.index, part.etag) for part in parts])


def check_parts(
    upload: Upload,
    stored: Sequence[StoredPart],
    given: Sequence[CompletedPart],
    etag: Callable[[str], str] = str,
) -> None:
    """See that the plugin has those ETags that storage gave it.

    ``etag`` shows a stored ETag as storage showed it to the plugin.

    Raises:
        Refused: as stores do.
    """
    if [part.index for part in given] != list(range(1, upload.parts + 1)):
        raise Refused(f"InvalidPartOrder: parts must be 1 to {upload.parts}, in order")
    held = {part.number: etag(part.etag) for part in stored}
    for part in given:
        if held.get(part.index) != part.etag:
            raise Refused(f"InvalidPart: part {part.index} is missing or has another ETag")


def check_sizes(upload: Upload, sizes: Sequence[int], minimum: int) -> None:
    """See that parts are large enough, and as large together as was said.

    Raises:
        Refused: as stores do.
    """
    if any(size < minimum for size in sizes[: upload.parts - 1]):
        raise Refused(f"EntityTooSmall: a part but the last is smaller than {minimum} bytes")
    if sum(sizes) != upload.size:
        raise Refused(f"the parts hold {sum(sizes)} bytes; file_size said {upload.size}")
