"""This project's transfers, by the calls that the supervisor makes, with an API that is no cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.transfer.job import Job, job_of_argv, measured
from plugin_framework.transfer.download import download_file
from plugin_framework.transfer.engine import Engine, EngineOptions
from plugin_framework.transfer.upload import StoredPart, UploadSlots, upload_file


class Urls:
    """In place of Datahub: gives URLs to one store."""

    def __init__(self, origin: str) -> None:
        self._object = f"{origin}/bucket/object"

    def init(
        self, file_name: str, size: int, chunk_size: int | None, *, resume: bool
    ) -> UploadSlots:
        """A URL for each part."""
        del file_name, resume
        count = -(-size // chunk_size) if chunk_size else 1
        query = "uploadId=upload&X-Amz-Signature=0"
        return UploadSlots(
            "upload", [f"{self._object}?partNumber={i}&{query}" for i in range(1, count + 1)]
        )

    def keep(self, upload_id: str, index: int, part: StoredPart) -> None:
        """Nothing is resumed here."""

    def complete(self, upload_id: str, parts: Sequence[tuple[int, str]]) -> None:
        """Nobody asks for the object."""

    def presign(self) -> str:
        """The object's URL."""
        return f"{self._object}?X-Amz-Signature=0"


def main(job: Job) -> None:
    """Do the job, and say what it took."""
    options = EngineOptions(
        ca_bundle=Path(job.authority), concurrency=job.concurrency, allow_private=True
    )
    engine, api, path = Engine(options), Urls(job.origin), Path(job.file)
    with measured():
        if job.up:
            upload_file(engine, path, name="object", api=api, chunk=job.part, digest=job.digest)
        else:
            download_file(engine, api.presign, path, chunk=job.part)
    engine.close()


if __name__ == "__main__":
    main(job_of_argv())
