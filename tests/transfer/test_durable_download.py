"""A download is on disk before it has its name, and a disk that fails is an error: by strace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest

from tests.transfer.storage_server import StorageServer, Stored

CONTENT = os.urandom(450_001)
PART = f".download-{sha256(b'target').hexdigest()[:16]}.part"

DOWNLOAD = """
import sys
from pathlib import Path
from plugin_framework.errors import LocalFileError
from plugin_framework.transfer.download import download_file
from plugin_framework.transfer.engine import Engine, EngineOptions

engine = Engine(EngineOptions(allow_private=True))
try:
    download_file(engine, lambda: sys.argv[1], Path(sys.argv[2]), chunk=100_000)
except LocalFileError as error:
    print(error)
"""


def _may_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    return (
        subprocess.run(["strace", "-qq", "true"], capture_output=True, check=False).returncode == 0
    )


pytestmark = pytest.mark.skipif(not _may_trace(), reason="strace is not to be had here")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "target"
    path.write_bytes(b"old")
    return path


def download(server: StorageServer, target: Path, *options: str) -> tuple[str, list[str]]:
    """What a download in a process of its own printed, and the system calls that were traced."""
    server.objects["/k"] = Stored(CONTENT, '"one"')
    log = target.parents[1] / "calls"
    argv = ["strace", "-f", "-y", "-qq", "-o", str(log), *options]
    argv += [sys.executable, "-c", DOWNLOAD, f"{server.url}/k?SECRET", str(target)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    return done.stdout, log.read_text().splitlines()


def first(calls: Sequence[str], pattern: str) -> int:
    return next(number for number, call in enumerate(calls) if re.search(pattern, call))


def test_it_is_synced_before_it_gets_its_name_and_the_folder_after(
    server: StorageServer, target: Path
) -> None:
    said, calls = download(
        server, target, "-e", "trace=fsync,rename,renameat,renameat2,write,pwrite64"
    )
    assert said == ""
    assert target.read_bytes() == CONTENT
    part = re.escape(PART)
    writes = [number for number, call in enumerate(calls) if re.search(rf"write.*{part}>", call)]
    synced = first(calls, rf"fsync\(\d+<.*{part}>\) += 0")
    renamed = first(calls, rf"rename\w*\(.*{part}")
    folder_synced = first(calls, rf"fsync\(\d+<{re.escape(str(target.parent))}>\) += 0")
    assert max(writes) < synced < renamed < folder_synced


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("fsync:error=EIO", "Input/output error"),
        ("fsync:error=EDQUOT", "Disk quota exceeded"),
        ("fallocate:error=ENOSPC", "No space left on device"),
        ("write:error=EIO", "Input/output error"),
        ("openat:error=EROFS", "Read-only file system"),
        ("rename:error=EIO", "Input/output error"),
    ],
)
def test_a_disk_that_fails_is_a_typed_error_and_the_old_file_stays(
    server: StorageServer, target: Path, fault: str, reason: str
) -> None:
    part = str(target.with_name(PART))
    call = fault.partition(":")[0]
    if call == "fallocate" and not os.major(target.stat().st_dev):
        fault, reason = "write:error=ENOSPC", "No space left on device"  # it has no blocks to give
        call = "write"
    said, _ = download(server, target, "-P", part, "-e", f"trace={call}", "-e", f"inject={fault}")
    assert said == f"cannot write {target}: {reason}\n"
    assert target.read_bytes() == b"old"
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_a_name_that_cannot_be_synced_is_an_error_too(server: StorageServer, target: Path) -> None:
    folder = str(target.parent)
    fault = ["-P", folder, "-e", "trace=fsync", "-e", "inject=fsync:error=EIO"]
    said, _ = download(server, target, *fault)
    assert said == f"cannot write {target}: Input/output error\n"
    assert target.read_bytes() in (b"old", CONTENT)
