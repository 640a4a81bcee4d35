"""The URLs that plugins are handed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from plugin_framework.emulator.dialects import Dialect
from plugin_framework.emulator.pending import Upload


class Urls(Protocol):
    """Makes URLs that are good for a while, and for one thing."""

    def uploads(self, upload: Upload) -> list[str]:
        """To PUT each part, in their order; a single object is its only part."""

    def download(self, key: str) -> str:
        """To GET an object."""

    def address(self, key: str) -> str:
        """Where an object is: good for nothing without a signature."""

    def etag(self, stored: str) -> str:
        """A stored ETag as plugins get to see it."""


class LocalUrls:
    """To the local storage, as a dialect signs them for ``lifetime`` seconds."""

    def __init__(self, dialect: Dialect, lifetime: int) -> None:
        self._dialect = dialect
        self._lifetime = lifetime

    def uploads(self, upload: Upload) -> list[str]:
        """With number and upload id, where it is one of parts."""
        if not upload.multipart:
            return [self._sign("PUT", upload.key)]
        return [
            self._sign("PUT", upload.key, {"partNumber": str(each), "uploadId": upload.upload_id})
            for each in range(1, upload.parts + 1)
        ]

    def download(self, key: str) -> str:
        """For the whole of it, and for ranges."""
        return self._sign("GET", key)

    def address(self, key: str) -> str:
        """In the one bucket there is."""
        return self._dialect.bucket.address(key)

    def etag(self, stored: str) -> str:
        """As the dialect shows it."""
        return self._dialect.etag(stored)

    def _sign(self, method: str, key: str, params: Mapping[str, str] | None = None) -> str:
        return self._dialect.sign(method, key, params or {}, self._lifetime, time.time())
