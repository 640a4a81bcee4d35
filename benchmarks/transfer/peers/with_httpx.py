"""httpx in threads, with one client: 1 MiB blocks up, raw blocks down."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator

import httpx

from benchmarks.transfer.job import MIB, allocated, in_threads, job_of_argv, measured


def _window(fd: int, offset: int, size: int) -> Iterator[bytes]:
    for at in range(offset, offset + size, MIB):
        yield os.pread(fd, min(MIB, offset + size - at), at)


def main() -> None:
    """Do the job."""
    job = job_of_argv()
    trust: ssl.SSLContext | bool = False
    if job.secure:
        trust = ssl.create_default_context(cafile=job.authority)
    url = f"{job.origin}/bucket/object"
    fd = os.open(job.file if job.up else allocated(job.file, job.size), os.O_RDWR)
    limits = httpx.Limits(max_connections=job.concurrency)

    def put(index: int, offset: int, size: int) -> None:
        body = _window(fd, offset, size)
        headers = {"Content-Length": str(size)}
        query = {"partNumber": index}
        client.put(url, params=query, content=body, headers=headers).raise_for_status()

    def get(_index: int, offset: int, size: int) -> None:
        headers = {"Range": f"bytes={offset}-{offset + size - 1}"}
        with client.stream("GET", url, headers=headers) as answer:
            for block in answer.raise_for_status().iter_raw():
                os.pwrite(fd, block, offset)
                offset += len(block)

    with (
        httpx.Client(verify=trust, limits=limits, timeout=60, trust_env=False) as client,
        measured(),
    ):
        in_threads(job, put if job.up else get)


if __name__ == "__main__":
    main()
