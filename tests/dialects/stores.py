"""Real object stores, on loopback, as long as they are needed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]  # untyped

from tests.dialects.signers import Account, s3_client
from tests.free_ports import free_ports

START_SECONDS: Final = 90
LOOPBACK: Final = "0100007F"
"""127.0.0.1 as /proc/net/tcp writes it."""
LISTENING: Final = "0A"


@dataclass(frozen=True)
class RunningStore:
    """A store that answers; ``client`` is boto3's, of its owner."""

    name: str
    account: Account
    client: Any
    pid: int


@contextmanager
def seaweedfs(folder: Path) -> Iterator[RunningStore]:
    """SeaweedFS: master, volume server, filer and S3 gateway in one process."""
    names = ("master", "volume", "filer", "s3", "admin")
    ports = free_ports(2 * len(names))
    http = dict(zip(names, ports, strict=False))
    account = Account(endpoint=f"http://127.0.0.1:{http['s3']}")
    flags = [f"-{name}.port={port}" for name, port in http.items()]
    flags += [f"-{name}.port.grpc={port}" for name, port in zip(names, ports[5:], strict=True)]
    command = [
        *("weed", "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *flags),
        *("-webdav=false", "-admin.ui=false", "-master.telemetry=false"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.max=0"),
        f"-filer.localSocket={folder}/filer.sock",
        f"-s3.localSocket={folder}/s3.sock",
    ]
    credentials = {
        "AWS_ACCESS_KEY_ID": account.access_key,
        "AWS_SECRET_ACCESS_KEY": account.secret,
    }
    with _running("seaweedfs", command, folder, credentials, account) as store:
        try:
            yield store
        finally:  # there is no option for where all of these go
            for path in socket_files(store.pid):
                path.unlink(missing_ok=True)


@contextmanager
def juicefs(folder: Path) -> Iterator[RunningStore]:
    """The gateway of JuiceFS, which is MinIO's code, over a folder and an SQLite file."""
    port, metrics = free_ports(2)
    account = Account(endpoint=f"http://127.0.0.1:{port}")
    database = f"sqlite3://{folder}/meta.db"
    subprocess.run(
        [
            *(_binary("juicefs"), "format", "--storage", "file", "--bucket", f"{folder}/blobs/"),
            *("--trash-days", "0", "--no-agent", database, "tests"),
        ],
        check=True,
        capture_output=True,
        env=_environment(folder, {}),
        timeout=START_SECONDS,
    )
    command = [
        *("juicefs", "gateway", "--multi-buckets", "--keep-etag", "--no-usage-report"),
        *("--no-banner", "--no-agent", "--no-bgjob", "--metrics", f"127.0.0.1:{metrics}"),
        *("--cache-dir", f"{folder}/cache", database, f"127.0.0.1:{port}"),
    ]
    credentials = {
        "MINIO_ROOT_USER": account.access_key,
        "MINIO_ROOT_PASSWORD": account.secret,
    }
    with _running("juicefs", command, folder, credentials, account) as store:
        yield store


STORES: Final[Mapping[str, Callable[[Path], Any]]] = {"seaweedfs": seaweedfs, "juicefs": juicefs}


def listening_addresses(pid: int) -> set[str]:
    """The addresses that a process listens at, in the kernel's own spelling."""
    inodes, found = _sockets(pid), set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == LISTENING and inode in inodes:
                found.add(local.partition(":")[0])
    return found


def socket_files(pid: int) -> set[Path]:
    """The files of a process's local sockets."""
    inodes = _sockets(pid)
    lines = Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]
    named = [fields for line in lines if len(fields := line.split()) == 8]
    return {Path(fields[7]) for fields in named if fields[6] in inodes}


def _sockets(pid: int) -> set[str]:
    """The inodes of its sockets. It may close any while it is looked at."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(str(link.readlink()))
    return {name[8:-1] for name in found if name.startswith("socket:[")}


@contextmanager
def _running(
    name: str,
    command: Sequence[str],
    folder: Path,
    variables: Mapping[str, str],
    account: Account,
) -> Iterator[RunningStore]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [_binary(command[0]), *command[1:]],
            cwd=folder,
            env=_environment(folder, variables),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    client = s3_client(account)
    try:
        _await_bucket(client, account.bucket, process, folder / "log")
        yield RunningStore(name, account, client, process.pid)
    finally:
        client.close()
        process.kill()  # nothing of it is wanted any more, and asking nicely takes seconds
        process.wait()


def _await_bucket(client: Any, bucket: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Make the bucket: a store that does so is up."""
    deadline, tick = monotonic() + START_SECONDS, Event()
    while process.poll() is None and monotonic() < deadline:
        try:
            client.create_bucket(Bucket=bucket)
        except (BotoCoreError, ClientError):
            tick.wait(0.1)
        else:
            return
    raise RuntimeError(f"the store did not start: {log.read_text(errors='replace')[-2000:]}")


def _binary(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _environment(folder: Path, variables: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": os.defpath, "HOME": str(folder), **variables}
