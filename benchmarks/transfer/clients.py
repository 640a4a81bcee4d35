"""Every client that is measured, as the command that does a job."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.transfer.job import MIB, Job

PROJECT = Path(__file__).parents[2]
PEERS = PROJECT / ".bench" / "bin"
"""Where ``make bench`` installs the peers that Python packages bring."""

_AWS = {
    "AWS_ACCESS_KEY_ID": "benchmark",
    "AWS_SECRET_ACCESS_KEY": "benchmark",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True, slots=True)
class Workplace:
    """``programs``: those in C, as built; ``scratch``: for what clients read and write."""

    programs: Path
    scratch: Path


@dataclass(frozen=True, slots=True)
class Client:
    """One client.

    Attributes:
        name: as it is shown.
        command: the command line for a job, and what it needs in its environment.
        needs: the program without which it cannot run.
        ways: the directions it can do; ``up`` is true.
        speaks: whether it says itself when it was done and what that took; else the whole process
            counts.
        tells: what readers are to know.
    """

    name: str
    command: Callable[[Job, Workplace], tuple[list[str], Mapping[str, str]]]
    needs: str = ""
    ways: tuple[bool, ...] = (True, False)
    speaks: bool = False
    tells: str = ""

    @property
    def missing(self) -> str | None:
        """Why it cannot be measured here, or None."""
        if not self.needs or shutil.which(self.needs):
            return None
        return f"no {Path(self.needs).name} here"


def _limit(job: Job, place: Workplace) -> tuple[list[str], dict[str, str]]:
    way = "up" if job.up else "down"
    numbers = [str(job.size), str(job.part), str(job.concurrency)]
    trust = [job.authority] if job.secure else []
    return [
        str(place.programs / "limit"),
        way,
        "localhost",
        job.port,
        job.file,
        *numbers,
        *trust,
    ], {}


def _python(interpreter: str, module: str) -> Client:
    def command(job: Job, _place: Workplace) -> tuple[list[str], dict[str, str]]:
        return [interpreter, "-m", module, job.dumps()], {"PYTHONPATH": str(PROJECT)}

    return Client(module.rpartition("_")[2], command, needs=interpreter, speaks=True)


def _curl(job: Job, place: Workplace) -> tuple[list[str], dict[str, str]]:
    """It can send no window of a file: its parts are files already, which costs it nothing here."""
    pieces = cut(job, place) if job.up else []
    lines = []
    for index, (offset, size) in enumerate(job.parts):
        lines.append(f'url = "{job.origin}/bucket/object?partNumber={index + 1}"')
        if job.up:
            lines += [f'upload-file = "{pieces[index]}"', 'output = "/dev/null"']
        else:
            lines.append(f'output = "{job.file}.{index}"')
            lines.append(f'range = "{offset}-{offset + size - 1}"')
        lines += ['header = "Expect:"', "next"]
    orders = place.scratch / "curl.orders"
    options = ["silent", "show-error", "fail", "http1.1"]
    options += [f'cacert = "{job.authority}"'] if job.secure else []
    head = "\n".join(options)
    body = "\n".join(lines[:-1]).replace("\nnext\n", f"\nnext\n{head}\n")
    orders.write_text(f"parallel\nparallel-max = {job.concurrency}\n{head}\n{body}\n")
    return ["curl", "--disable", "--config", str(orders)], {}


def cut(job: Job, place: Workplace) -> list[Path]:
    """The file of a job as one file for each part; cut once."""
    source = Path(job.file)
    folder = place.scratch / f"parts-{job.part}"
    paths = [folder / str(index) for index in range(len(job.parts))]
    if not folder.exists():
        folder.mkdir()
        with source.open("rb") as file:
            for path, (_, size) in zip(paths, job.parts, strict=True):
                path.write_bytes(file.read(size))
    return paths


def _aria2c(job: Job, _place: Workplace) -> tuple[list[str], dict[str, str]]:
    file = Path(job.file)
    width = str(job.concurrency)
    options = {
        "max-connection-per-server": width,
        "split": width,
        "min-split-size": str(job.part),
        "piece-length": str(job.part),
        "file-allocation": "falloc",
        "allow-overwrite": "true",
        "ca-certificate": job.authority,
        "dir": str(file.parent),
        "out": file.name,
    }
    given = [f"--{name}={value}" for name, value in options.items()]
    return ["aria2c", "--no-conf", "--quiet", *given, f"{job.origin}/bucket/object"], {}


def _s5cmd(job: Job, _place: Workplace) -> tuple[list[str], dict[str, str]]:
    ends = [job.file, "s3://bucket/object"]
    command = [str(PEERS / "s5cmd"), "--endpoint-url", job.origin, "cp"]
    command += ["-c", str(job.concurrency), "-p", str(job.part // MIB)]
    trust = {"SSL_CERT_FILE": job.authority} if job.secure else {}
    return [*command, *(ends if job.up else reversed(ends))], _AWS | trust


def _rclone(job: Job, _place: Workplace) -> tuple[list[str], dict[str, str]]:
    ends = [job.file, ":s3:bucket/object"]
    width, part = str(job.concurrency), f"{job.part // MIB}Mi"
    options = {
        "s3-provider": "Other",
        "s3-endpoint": job.origin,
        "s3-env-auth": "true",
        "s3-force-path-style": "true",
        "s3-no-check-bucket": "true",
        "s3-chunk-size": part,
        "s3-upload-cutoff": part,
        "s3-upload-concurrency": width,
        "multi-thread-streams": width,
        "multi-thread-chunk-size": part,
        "multi-thread-cutoff": part,
        "config": "/dev/null",
    }
    options |= {"ca-cert": job.authority} if job.secure else {}
    given = [f"--{name}={value}" for name, value in options.items()]
    flags = ["--ignore-checksum", "--ignore-times", "--s3-disable-checksum"]
    source, target = ends if job.up else reversed(ends)
    return [str(PEERS / "rclone"), "copyto", *given, *flags, source, target], _AWS


def _with_digest(client: Client) -> Client:
    def command(job: Job, place: Workplace) -> tuple[list[str], Mapping[str, str]]:
        return client.command(replace(job, digest=True), place)

    return replace(client, name=SHA256, command=command, ways=(True,))


LIMIT, OURS, SHA256 = "limit", "ours", "ours, sha256"
_OURS = replace(_python(sys.executable, "benchmarks.transfer.ours"), name=OURS)


def _peer(name: str, tells: str = "") -> Client:
    interpreter = str(PEERS / "python") if name != "httpx" else sys.executable
    return replace(_python(interpreter, f"benchmarks.transfer.peers.with_{name}"), tells=tells)


CLIENTS = (
    Client(LIMIT, _limit, speaks=True),
    _OURS,
    _with_digest(_OURS),
    _peer("httpx"),
    Client("curl", _curl, needs="curl", tells="sends files that are cut already; makes many"),
    Client("aria2c", _aria2c, needs="aria2c", ways=(False,), tells="downloads only"),
    _peer("boto3"),
    _peer("awscrt", "sets its number of connections by itself"),
    Client("s5cmd", _s5cmd, needs=str(PEERS / "s5cmd")),
    Client("rclone", _rclone, needs=str(PEERS / "rclone")),
    _peer("obstore"),
)


SMALL = replace(_python(sys.executable, "benchmarks.transfer.small"), name="side by side")


def _one_by_one(job: Job, place: Workplace) -> tuple[list[str], Mapping[str, str]]:
    return SMALL.command(replace(job, concurrency=1), place)


SEQUENTIAL = replace(SMALL, name="one by one", command=_one_by_one)


def named(*names: str) -> list[Client]:
    """Those clients."""
    return [client for client in CLIENTS if client.name in names]


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """What every client gets: no proxies and no settings of whoever runs this."""
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C.UTF-8", **extra}
