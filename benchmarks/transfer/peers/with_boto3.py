"""boto3's own managed transfers."""

from __future__ import annotations

import boto3  # type: ignore[import-untyped]  # it has none
from boto3.s3.transfer import TransferConfig  # type: ignore[import-untyped]  # as above
from botocore.config import Config  # type: ignore[import-untyped]  # as above

from benchmarks.transfer.job import job_of_argv, measured


def main() -> None:
    """Do the job."""
    job = job_of_argv()
    client = boto3.client(
        "s3",
        endpoint_url=job.origin,
        verify=job.authority,
        region_name="us-east-1",
        aws_access_key_id="benchmark",
        aws_secret_access_key="benchmark",
        config=Config(
            s3={"addressing_style": "path"},
            max_pool_connections=job.concurrency,
            request_checksum_calculation="when_required",  # what is faster
            response_checksum_validation="when_required",
        ),
    )
    how = TransferConfig(
        multipart_threshold=job.part,
        multipart_chunksize=job.part,
        max_concurrency=job.concurrency,
        preferred_transfer_client="classic",  # the other one is measured by itself
    )
    with measured():
        if job.up:
            client.upload_file(job.file, "bucket", "object", Config=how)
        else:
            client.download_file("bucket", "object", job.file, Config=how)


if __name__ == "__main__":
    main()
