"""Presigned URLs to a real store, as boto3 makes them."""

from __future__ import annotations

from typing import Any

from plugin_framework.emulator.buckets.address import BucketAddress
from plugin_framework.emulator.buckets.failures import refusing
from plugin_framework.emulator.pending import Upload


class BucketUrls:
    """Signs for ``lifetime`` seconds. No network is needed for it."""

    def __init__(self, client: Any, address: BucketAddress, lifetime: int) -> None:
        self._client = client
        self._address = address
        self._lifetime = lifetime

    def uploads(self, upload: Upload) -> list[str]:
        """One for each part, in their order."""
        if not upload.multipart:
            return [self._sign("put_object", upload.key)]
        return [
            self._sign("upload_part", upload.key, UploadId=upload.store_id, PartNumber=number)
            for number in range(1, upload.parts + 1)
        ]

    def download(self, key: str) -> str:
        """To get an object."""
        return self._sign("get_object", key)

    def address(self, key: str) -> str:
        """The object's own, which nobody signed."""
        return self.download(key).partition("?")[0]

    def etag(self, stored: str) -> str:
        """As the store has it."""
        return stored

    def _sign(self, operation: str, key: str, **more: Any) -> str:
        place = {"Bucket": self._address.bucket, "Key": key, **more}
        with refusing():
            return str(self._client.generate_presigned_url(operation, place, self._lifetime))
