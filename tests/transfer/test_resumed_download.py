"""Downloads that go on after a crash, and what is whole already."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from plugin_framework.errors import TaskCancelled
from plugin_framework.transfer.download import Downloaded, download_file
from plugin_framework.transfer.engine import Engine, EngineOptions
from tests.transfer.storage_server import Dialogue, StorageServer, Stored, stalls
from tests.transfer.test_download import CHUNK, CONTENT, OTHER, Presign, ranges_of


@pytest.fixture
def presign(server: StorageServer) -> Presign:
    server.objects["/k"] = Stored(CONTENT, '"one"')
    return Presign(server)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target.bin"


@pytest.fixture
def fetch(engine: Engine, presign: Presign, target: Path) -> Callable[[], Downloaded]:
    return lambda: download_file(engine, presign, target, chunk=CHUNK)


KILLED = """
import sys
from pathlib import Path
from plugin_framework.transfer.download import download_file
from plugin_framework.transfer.engine import Engine, EngineOptions

engine = Engine(EngineOptions(allow_private=True, concurrency=1))
download_file(engine, lambda: sys.argv[1], Path(sys.argv[2]), chunk=100_000)
"""


@pytest.fixture
def killed(server: StorageServer, presign: Presign, target: Path) -> None:
    """A download that got two ranges of five, and was killed in the third."""
    server.script("GET", "/k", Dialogue.serve, Dialogue.serve, stalls)
    process = subprocess.Popen([sys.executable, "-c", KILLED, presign(), str(target)])
    assert server.stalled.wait(30)
    process.kill()
    process.wait()
    server.requests.clear()


@pytest.mark.usefixtures("killed")
def test_after_a_crash_only_what_is_missing_is_fetched(
    server: StorageServer, fetch: Callable[[], Downloaded]
) -> None:
    assert fetch().path.read_bytes() == CONTENT
    assert sorted(request.header("range") or "" for request in server.requests) == [
        "bytes=200000-299999",
        "bytes=300000-399999",
        "bytes=400000-450000",
    ]


def test_a_cancel_passes_through_and_what_is_here_is_not_fetched_again(
    options: EngineOptions, server: StorageServer, presign: Presign, target: Path
) -> None:
    target.write_bytes(b"old")
    server.script("GET", "/k", Dialogue.serve, Dialogue.serve, stalls)
    engine = Engine(replace(options, concurrency=1))

    def check() -> None:
        if server.stalled.is_set():
            raise TaskCancelled

    with pytest.raises(TaskCancelled):
        download_file(engine, presign, target, chunk=CHUNK, check=check)
    assert target.read_bytes() == b"old"
    server.requests.clear()
    download_file(engine, presign, target, chunk=CHUNK)
    engine.close()
    assert target.read_bytes() == CONTENT
    assert "bytes=0-99999" not in ranges_of(server)
    assert "bytes=100000-199999" not in ranges_of(server)
    assert len(server.requests) == 3


@pytest.mark.usefixtures("killed")
def test_after_a_crash_another_object_is_begun_anew(
    server: StorageServer, fetch: Callable[[], Downloaded]
) -> None:
    server.objects["/k"] = Stored(OTHER, '"two"')
    assert fetch().path.read_bytes() == OTHER


@pytest.mark.usefixtures("killed")
@pytest.mark.parametrize("damage", ["torn", "rebooted", "empty", "other-chunk", "size"])
def test_a_log_that_proves_nothing_is_not_believed(
    engine: Engine, server: StorageServer, presign: Presign, target: Path, damage: str
) -> None:
    (log,) = target.parent.glob(".download-*.log")
    text = log.read_text()
    damaged = {
        "torn": text[:30],
        "rebooted": re.sub(r'"boot": "[^"]*"', '"boot": "earlier"', text),
        "empty": "",
        "other-chunk": text,
        "size": re.sub(r'"size": (\d+)', r'"size": Infinity', text),
    }
    log.write_text(damaged[damage])
    chunk = CHUNK // 2 if damage == "other-chunk" else CHUNK
    download_file(engine, presign, target, chunk=chunk)
    assert target.read_bytes() == CONTENT
    assert f"bytes=0-{chunk - 1}" in ranges_of(server)


def test_what_is_whole_and_unchanged_is_not_fetched_again(
    server: StorageServer, fetch: Callable[[], Downloaded]
) -> None:
    first = fetch()
    server.requests.clear()
    assert fetch() == first
    assert [request.header("range") for request in server.requests] == ["bytes=0-0"]


@pytest.mark.parametrize("change", ["the object", "the file", "the file's date"])
def test_what_is_whole_but_changed_is_fetched_again(
    server: StorageServer, target: Path, fetch: Callable[[], Downloaded], change: str
) -> None:
    fetch()
    if change == "the object":
        server.objects["/k"] = Stored(OTHER, '"two"')
    elif change == "the file":
        target.write_bytes(b"x" * len(CONTENT))
    else:
        os.utime(target, (1, 1))
    assert fetch().path.read_bytes() == (OTHER if change == "the object" else CONTENT)


@pytest.mark.usefixtures("killed")
def test_a_size_that_is_written_as_a_fraction_is_a_size(
    target: Path, fetch: Callable[[], Downloaded]
) -> None:
    (log,) = target.parent.glob(".download-*.log")
    log.write_text(re.sub(r'"size": (\d+)', r'"size": \1.0', log.read_text()))
    assert fetch().path.read_bytes() == CONTENT
