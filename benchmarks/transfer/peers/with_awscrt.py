"""The AWS common runtime's S3 client. It sets its number of connections by a rate to reach."""

from __future__ import annotations

from awscrt.auth import (  # type: ignore[import-not-found]  # in the peers' own environment
    AwsCredentialsProvider,
    AwsSigningConfig,
)
from awscrt.http import HttpHeaders, HttpRequest  # type: ignore[import-not-found]  # as above
from awscrt.io import (  # type: ignore[import-not-found]  # as above
    ClientBootstrap,
    ClientTlsContext,
    DefaultHostResolver,
    EventLoopGroup,
    TlsContextOptions,
)
from awscrt.s3 import (  # type: ignore[import-not-found]  # as above
    S3Client,
    S3RequestTlsMode,
    S3RequestType,
    create_default_s3_signing_config,
)

from benchmarks.transfer.job import Job, job_of_argv, measured

GIGABITS_PER_CONNECTION = 0.8
"""By its own rule: a connection for each 100 MB/s."""


def _client(job: Job) -> S3Client:
    group = EventLoopGroup(num_threads=job.concurrency)
    provider = AwsCredentialsProvider.new_static("benchmark", "benchmark")
    signing: AwsSigningConfig = create_default_s3_signing_config(
        region="us-east-1", credential_provider=provider
    )
    options = TlsContextOptions()
    options.override_default_trust_store_from_path(None, job.authority)
    tls = ClientTlsContext(options).new_connection_options()
    return S3Client(
        bootstrap=ClientBootstrap(group, DefaultHostResolver(group)),
        region="us-east-1",
        tls_mode=S3RequestTlsMode.ENABLED if job.secure else S3RequestTlsMode.DISABLED,
        tls_connection_options=tls if job.secure else None,
        signing_config=signing,
        part_size=job.part,
        throughput_target_gbps=GIGABITS_PER_CONNECTION * job.concurrency,
    )


def main() -> None:
    """Do the job."""
    job = job_of_argv()
    client = _client(job)
    headers = HttpHeaders([("Host", f"127.0.0.1:{job.port}")])
    if job.up:
        headers.add("Content-Length", str(job.size))
    request = HttpRequest("PUT" if job.up else "GET", "/bucket/object", headers)
    with measured():
        client.make_request(
            request=request,
            type=S3RequestType.PUT_OBJECT if job.up else S3RequestType.GET_OBJECT,
            send_filepath=job.file if job.up else None,
            recv_filepath=None if job.up else job.file,
        ).finished_future.result()


if __name__ == "__main__":
    main()
