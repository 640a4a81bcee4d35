"""obstore: its multipart upload, and ranges in threads."""

from __future__ import annotations

import os
from pathlib import Path

import obstore  # type: ignore[import-not-found]  # in the peers' own environment
from obstore.store import S3Store  # type: ignore[import-not-found]  # as above

from benchmarks.transfer.job import allocated, in_threads, job_of_argv, measured


def main() -> None:
    """Do the job."""
    job = job_of_argv()
    store = S3Store(
        "bucket",
        endpoint=job.origin,
        region="us-east-1",
        access_key_id="benchmark",
        secret_access_key="benchmark",
        virtual_hosted_style_request=False,
        # It trusts the authorities it was built with, and no file: so it checks nothing here.
        client_options={"allow_http": True, "allow_invalid_certificates": True},
    )
    if job.up:
        with measured():
            obstore.put(
                store,
                "object",
                Path(job.file),
                use_multipart=True,
                chunk_size=job.part,
                max_concurrency=job.concurrency,
            )
        return
    fd = os.open(allocated(job.file, job.size), os.O_RDWR)

    def get(_index: int, offset: int, size: int) -> None:
        data = obstore.get_range(store, "object", start=offset, length=size)
        os.pwrite(fd, memoryview(data), offset)

    with measured():
        in_threads(job, get)


if __name__ == "__main__":
    main()
