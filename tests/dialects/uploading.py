"""Uploads into a real store, as Datahub would arrange them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from plugin_framework.transfer.upload import StoredPart, UploadSlots
from tests.dialects.signers import Signer
from tests.dialects.stores import RunningStore


@dataclass
class StoreUploads:
    """Begins and completes by boto3; hands out what ``signers`` make, one of them at a time.

    ``signers`` are for one ``init`` each, and the last for all further ones.
    """

    store: RunningStore
    key: str
    signers: Sequence[Signer]
    inits: int = 0
    kept: list[int] = field(default_factory=list)
    etags: list[str] = field(default_factory=list)
    _upload_id: str = ""

    def init(
        self, file_name: str, size: int, chunk_size: int | None, *, resume: bool
    ) -> UploadSlots:
        sign = self.signers[min(self.inits, len(self.signers) - 1)]
        self.inits += 1
        if chunk_size is None:
            return UploadSlots("single", [sign("PUT", self.key, {})])
        if not self._upload_id:
            begun = self.store.client.create_multipart_upload(**self._object)
            self._upload_id = begun["UploadId"]
        numbers = range(1, -(-size // chunk_size) + 1)
        params = [{"partNumber": str(each), "uploadId": self._upload_id} for each in numbers]
        return UploadSlots(self._upload_id, [sign("PUT", self.key, each) for each in params])

    def keep(self, upload_id: str, index: int, part: StoredPart) -> None:
        self.kept.append(index)

    def complete(self, upload_id: str, parts: Sequence[tuple[int, str]]) -> None:
        self.etags = [etag for _, etag in parts]
        if upload_id != "single":
            listed = [{"PartNumber": index, "ETag": etag} for index, etag in parts]
            self.store.client.complete_multipart_upload(
                **self._object, UploadId=upload_id, MultipartUpload={"Parts": listed}
            )

    @property
    def _object(self) -> dict[str, str]:
        return {"Bucket": self.store.account.bucket, "Key": self.key}
