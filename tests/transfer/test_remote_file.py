from __future__ import annotations

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from plugin_framework.errors import StorageError, TransferError
from plugin_framework.transfer.engine import AbortedError, Engine
from plugin_framework.transfer.remote_file import RemoteFile
from tests.transfer.storage_server import (
    Dialogue,
    StorageServer,
    Stored,
    cuts_short,
    refuses,
    stalls,
)

CONTENT = os.urandom(100_000)


@pytest.fixture
def remote(engine: Engine, server: StorageServer) -> RemoteFile:
    server.objects["/k"] = Stored(CONTENT, '"one"')
    return RemoteFile(engine, lambda: f"{server.url}/k?SECRET")


def test_the_size_is_probed_with_a_range(remote: RemoteFile, server: StorageServer) -> None:
    assert remote.size == len(CONTENT)
    assert remote.size == len(CONTENT)
    assert [(r.method, r.header("range")) for r in server.requests] == [("GET", "bytes=0-0")]


@pytest.mark.parametrize(
    ("offset", "size"), [(0, 10), (99_990, 50), (100_000, 1), (200_000, 5), (500, 0), (7, 99_993)]
)
def test_reads_are_those_of_a_file(remote: RemoteFile, offset: int, size: int) -> None:
    file = io.BytesIO(CONTENT)
    file.seek(offset)
    assert remote.read(offset, size) == file.read(size)


def test_a_read_fetches_only_what_is_read(remote: RemoteFile, server: StorageServer) -> None:
    remote.read(500, 100)
    assert server.requests[-1].header("range") == "bytes=500-599"
    assert server.requests[-1].header("if-match") == '"one"'


def test_an_empty_object_has_nothing_to_read(remote: RemoteFile, server: StorageServer) -> None:
    server.objects["/k"] = Stored(b"")
    assert remote.size == 0
    assert remote.read(0, 10) == b""


def test_a_broken_read_is_resumed(remote: RemoteFile, server: StorageServer) -> None:
    server.script("GET", "/k", Dialogue.serve, refuses(503, "SlowDown"), cuts_short(30))
    assert remote.read(1000, 100) == CONTENT[1000:1100]
    assert server.requests[-1].header("range") == "bytes=1030-1099"


def test_an_object_that_changed_is_an_error(remote: RemoteFile, server: StorageServer) -> None:
    remote.read(0, 10)
    server.objects["/k"] = Stored(CONTENT, '"two"')
    with pytest.raises(TransferError, match="changed"):
        remote.read(0, 10)


def test_a_store_without_ranges_is_an_error(remote: RemoteFile, server: StorageServer) -> None:
    server.objects["/k"] = Stored(CONTENT, accepts_ranges=False)
    with pytest.raises(TransferError, match="whole object"):
        remote.read(0, 10)


def test_expired_urls_are_replaced_as_often_as_they_expire(
    engine: Engine, server: StorageServer
) -> None:
    server.objects["/k"] = Stored(CONTENT)
    calls: list[str] = []

    def presign() -> str:
        calls.append(f"{server.url}/k?call={len(calls)}&SECRET")
        return calls[-1]

    expired = refuses(403, "AccessDenied", "Request has expired")
    server.script("GET", "call=0&", Dialogue.serve, Dialogue.serve, *[expired] * 9)
    server.script("GET", "call=1&", Dialogue.serve, *[expired] * 9)
    server.script("GET", "call=2&", Dialogue.serve, *[expired] * 9)
    server.script("GET", "call=3&", *[expired] * 9)
    remote = RemoteFile(engine, presign)
    for _ in range(3):
        assert remote.read(0, 5) == CONTENT[:5]
    with pytest.raises(StorageError, match="403 AccessDenied"):
        remote.read(0, 5)
    assert len(calls) == 4


def test_threads_may_read_at_once(remote: RemoteFile) -> None:
    offsets = range(0, len(CONTENT), 1000)
    with ThreadPoolExecutor(8) as pool:
        pieces = list(pool.map(lambda offset: remote.read(offset, 1000), offsets))
    assert b"".join(pieces) == CONTENT


def test_a_read_ends_when_it_is_stopped(engine: Engine, server: StorageServer) -> None:
    server.script("GET", "", stalls)
    stop = threading.Event()
    remote = RemoteFile(engine, lambda: f"{server.url}/k", stop=stop)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(remote.read, 0, 5)
        assert server.stalled.wait(10)
        stop.set()
        assert isinstance(reading.exception(10), AbortedError)
