"""Where bytes are kept: the seam between Datahub and storage, and the local storage behind it."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from plugin_framework.emulator.database import Database
from plugin_framework.emulator.dialects import ObjectStoreError
from plugin_framework.emulator.objects import Objects
from plugin_framework.emulator.parts import Parts
from plugin_framework.emulator.pending import (
    Blob,
    StoredPart,
    Upload,
    check_parts,
    check_sizes,
    place,
)
from plugin_framework.emulator.rules import Refused
from plugin_framework.protocol.models import CompletedPart

CHUNK: Final = 1024 * 1024
"""Bytes that are read at once."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """An object that was made, to be recorded, and the ``parts`` that it was made of.

    In the local storage ``blob`` is its file; ``whole`` the one that parts were in, where they
    shared one.
    """

    parts: tuple[StoredPart, ...] = ()
    blob: Blob | None = None
    whole: str | None = None


class Backend(Protocol):
    """Takes objects in, and hands them out.

    An upload is begun, its bytes arrive, it is gathered and then settled; or it is aborted.
    Everything but ``settle`` may take its time, and raises ``Refused`` where a store refuses, with
    code 500 where it does not answer.
    """

    def new_key(self) -> str:
        """A key that no other object has."""

    def begin(self, upload: Upload) -> str | None:
        """Make ready for the upload's bytes; the store's own id of it, where it has one."""

    def gather(
        self, upload: Upload, given: Sequence[CompletedPart], etag: Callable[[str], str]
    ) -> Gathered:
        """Make the object of the parts that the plugin says it sent. May be done again.

        ``etag`` shows a stored ETag as storage showed it to the plugin.

        Raises:
            Refused: they are not what is stored.
        """

    def settle(self, sql: sqlite3.Connection, upload: Upload, gathered: Gathered) -> None:
        """Join in the transaction that records the object.

        Raises:
            Refused: it is outdated.
        """

    def undo(self, upload: Upload, gathered: Gathered) -> None:
        """Forget an object that was gathered and not settled."""

    def tidy(self, upload: Upload, gathered: Gathered) -> None:
        """Remove what the object, now recorded, was made of."""

    def abort(self, upload: Upload) -> None:
        """Remove whatever came for an upload that nobody will complete."""

    def take(self, key: str, source: Path) -> str | None:
        """Take in a file; the name of its blob, which the caller gives its key, where it has one.

        Raises:
            OSError: it cannot be read.
        """

    def adopt(self, key: str, blob: Blob) -> None:
        """Give a blob that was written here its key."""

    def read(self, key: str) -> Iterator[bytes]:
        """The bytes of an object, a block at a time.

        Raises:
            Refused: it is not there (any more).
        """

    def remove(self, key: str) -> None:
        """Remove an object; it need not be there."""


class LocalBackend:
    """The local storage, which plugins reach by URLs to this process."""

    def __init__(
        self, database: Database, objects: Objects, parts: Parts, minimum_part: int
    ) -> None:
        self._database = database
        self._objects = objects
        self._parts = parts
        self._minimum_part = minimum_part

    def new_key(self) -> str:
        """Random, so that nobody guesses it."""
        return secrets.token_hex(16)

    def begin(self, upload: Upload) -> None:
        """Files are made when bytes come."""

    def gather(
        self, upload: Upload, given: Sequence[CompletedPart], etag: Callable[[str], str]
    ) -> Gathered:
        """Without copying a byte, where every part is where it belongs."""
        with self._database.transaction() as sql:
            upload, busy = self._parts.seal(sql, upload)
            stored = self._parts.stored(sql, upload)
        check_parts(upload, stored, given, etag)
        check_sizes(upload, [part.size for part in stored], self._minimum_part)
        if not upload.multipart:
            (part,) = stored
            return Gathered((part,), Blob(part.blob, part.size, part.etag))
        blob = self._parts.join(upload, stored, busy=busy)
        return Gathered(tuple(stored), blob, upload.whole)

    def settle(self, sql: sqlite3.Connection, upload: Upload, gathered: Gathered) -> None:
        """See that it is made of what is stored now."""
        if tuple(self._parts.stored(sql, upload)) != gathered.parts:
            raise Refused("a part was replaced while the upload was completed")
        self._parts.forget(sql, upload)
        assert gathered.blob is not None
        place(sql, upload.key, gathered.blob)

    def undo(self, upload: Upload, gathered: Gathered) -> None:
        """Parts stay, for the next attempt."""
        if upload.multipart and gathered.blob is not None:
            self._parts.discard([gathered.blob.blob], but=[gathered.whole])

    def tidy(self, upload: Upload, gathered: Gathered) -> None:  # noqa: ARG002 - parts say all
        """Remove the files that no part of the object is in."""
        if gathered.blob is not None:
            files = [gathered.whole, *(part.blob for part in gathered.parts)]
            self._parts.discard(files, but=[gathered.blob.blob])

    def abort(self, upload: Upload) -> None:
        """Remove its files."""
        with self._database.transaction() as sql:
            files = [upload.whole, *(part.blob for part in self._parts.stored(sql, upload))]
            self._parts.forget(sql, upload)
        self._parts.discard(files)
        self._objects.remove(upload.key)

    def take(self, key: str, source: Path) -> str:  # noqa: ARG002 - blobs have names of their own
        """Link it, without copying."""
        return self._objects.link(source)

    def adopt(self, key: str, blob: Blob) -> None:
        """It is where it is to be."""
        with self._database.transaction() as sql:
            place(sql, key, blob)

    def read(self, key: str) -> Iterator[bytes]:
        """Read its file."""
        try:
            path = self._objects.find(key).path
        except ObjectStoreError as error:
            raise Refused(error.message) from None
        with path.open("rb", buffering=0) as file:
            while data := file.read(CHUNK):
                yield data

    def remove(self, key: str) -> None:
        """Remove row and file."""
        self._objects.remove(key)
