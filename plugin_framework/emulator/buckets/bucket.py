"""Uploads, inputs and outputs in a real store's bucket."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from plugin_framework.emulator.backend import CHUNK, Gathered
from plugin_framework.emulator.buckets.address import BucketAddress
from plugin_framework.emulator.buckets.failures import StoreRefused, refusing
from plugin_framework.emulator.buckets.urls import BucketUrls
from plugin_framework.emulator.database import Database
from plugin_framework.emulator.objects import Objects
from plugin_framework.emulator.pending import (
    Blob,
    StoredPart,
    Upload,
    check_parts,
    check_sizes,
    manifest_of,
)
from plugin_framework.protocol.models import CompletedPart

_GONE: Final = frozenset({"NoSuchUpload", "NoSuchKey", "404"})


class S3Bucket:
    """A ``Backend`` whose bytes go straight between plugins and the store.

    What people hand in passes through the ``objects`` of this machine on its way.
    """

    def __init__(
        self,
        client: Any,
        address: BucketAddress,
        *,
        database: Database,
        objects: Objects,
        minimum_part: int,
    ) -> None:
        self._client = client
        self._address = address
        self._database = database
        self._objects = objects
        self._minimum_part = minimum_part

    def urls(self, lifetime: int) -> BucketUrls:
        """What signs URLs to it, good for so many seconds."""
        return BucketUrls(self._client, self._address, lifetime)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def new_key(self) -> str:
        """Random, below the prefix."""
        return f"{self._address.prefix}{secrets.token_hex(16)}"

    def begin(self, upload: Upload) -> str | None:
        """Begin it at the store too, where it is one of parts."""
        if not upload.multipart:
            return None
        with refusing():
            begun = self._client.create_multipart_upload(**self._place(upload))
        return str(begun["UploadId"])

    def gather(
        self,
        upload: Upload,
        given: Sequence[CompletedPart],
        etag: Callable[[str], str],  # noqa: ARG002 - plugins see the store's own
    ) -> Gathered:
        """Have the store do it. That it has done so already is no error."""
        if not upload.multipart:
            self._check(upload, self._object(upload), given)
            return Gathered()
        manifest = manifest_of(given)
        try:
            self._check(upload, self._parts(upload, given), given)
            self._note(upload, manifest)
            self._complete(upload, given)
        except StoreRefused as refused:
            if refused.store_code not in _GONE or not self._is_complete(upload, manifest):
                raise
        return Gathered()

    def _check(
        self, upload: Upload, stored: Sequence[StoredPart], given: Sequence[CompletedPart]
    ) -> None:
        check_parts(upload, stored, given)
        check_sizes(upload, [part.size for part in stored], self._minimum_part)

    def _note(self, upload: Upload, manifest: str) -> None:
        """Keep what the store is asked for: it may do it, and we not live to hear of it."""
        query = "UPDATE uploads SET asked = ? WHERE upload_id = ?"
        with self._database.transaction() as sql:
            sql.execute(query, (manifest, upload.upload_id))

    def _complete(self, upload: Upload, given: Sequence[CompletedPart]) -> None:
        parts = [{"PartNumber": part.index, "ETag": part.etag} for part in given]
        with refusing():
            self._client.complete_multipart_upload(
                **self._place(upload), UploadId=upload.store_id, MultipartUpload={"Parts": parts}
            )

    def _is_complete(self, upload: Upload, manifest: str) -> bool:
        """Whether the store has done before what it is asked for."""
        query = "SELECT asked FROM uploads WHERE upload_id = ?"
        with self._database.reading() as sql:
            asked = sql.execute(query, (upload.upload_id,)).fetchone()["asked"]
        return asked == manifest and [part.size for part in self._object(upload)] == [upload.size]

    def _object(self, upload: Upload) -> list[StoredPart]:
        """The object, as the only part of itself; nothing where there is none."""
        try:
            with refusing():
                found = self._client.head_object(**self._place(upload))
        except StoreRefused as refused:
            if refused.store_code in _GONE:
                return []
            raise
        return [StoredPart(1, int(found["ContentLength"]), _quoted(found["ETag"]))]

    def _parts(self, upload: Upload, given: Sequence[CompletedPart]) -> list[StoredPart]:
        """What the store holds of an upload: it answers in pages.

        Some list a part that was sent twice both times; the one that is given is meant then.
        """
        pages = self._client.get_paginator("list_parts").paginate(
            **self._place(upload), UploadId=upload.store_id
        )
        wanted = {(part.index, part.etag) for part in given}
        found: dict[int, StoredPart] = {}
        with refusing():
            for listed in (each for page in pages for each in page.get("Parts", [])):
                number, etag = int(listed["PartNumber"]), _quoted(listed["ETag"])
                if number not in found or (number, etag) in wanted:
                    found[number] = StoredPart(number, int(listed["Size"]), etag)
        return [found[number] for number in sorted(found)]

    def settle(self, sql: sqlite3.Connection, upload: Upload, gathered: Gathered) -> None:
        """The store has all that there is to record."""

    def undo(self, upload: Upload, gathered: Gathered) -> None:  # noqa: ARG002 - the key says all
        """Remove the object."""
        self.remove(upload.key)

    def tidy(self, upload: Upload, gathered: Gathered) -> None:
        """The store has done so."""

    def abort(self, upload: Upload) -> None:
        """Have the store forget the parts, and the object that may be there nevertheless."""
        if upload.store_id is not None:
            try:
                with refusing():
                    self._client.abort_multipart_upload(
                        **self._place(upload), UploadId=upload.store_id
                    )
            except StoreRefused as refused:
                if refused.store_code not in _GONE:
                    raise
        if not upload.multipart or upload.asked is not None:
            self.remove(upload.key)

    def take(self, key: str, source: Path) -> None:
        """Send it to the store."""
        with refusing():
            self._client.upload_file(str(source), self._address.bucket, key)

    def adopt(self, key: str, blob: Blob) -> None:
        """Send it to the store, and keep nothing here."""
        try:
            self.take(key, self._objects.path(blob.blob))
        finally:
            self._objects.discard(blob.blob)

    def read(self, key: str) -> Iterator[bytes]:
        """Have it from the store."""
        with refusing():
            body = self._client.get_object(Bucket=self._address.bucket, Key=key)["Body"]
            with body:
                yield from body.iter_chunks(CHUNK)

    def remove(self, key: str) -> None:
        """Have the store remove it."""
        with refusing():
            self._client.delete_object(Bucket=self._address.bucket, Key=key)

    def _place(self, upload: Upload) -> dict[str, str]:
        return {"Bucket": self._address.bucket, "Key": upload.key}


def _quoted(etag: str) -> str:
    """As in a PUT's answer: some stores leave the quotes away elsewhere."""
    return etag if etag.endswith('"') else f'"{etag}"'
