from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import duckdb
import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it has none
import pyarrow as pa
import pytest
from pyarrow import dataset, parquet

from plugin_framework.errors import ObjectChangedError, StorageError, TaskCancelled, TransferError
from plugin_framework.plugin.input_file import InputBlocks, open_blocks
from plugin_framework.transfer.engine import Engine, EngineOptions
from plugin_framework.transfer.remote_file import RemoteFile
from tests.transfer.storage_server import (
    MIB,
    Dialogue,
    StorageServer,
    Stored,
    Zeros,
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
    assert len(remote.read(0, 10)) == 0


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_empty_object_is_one_where_storage_only_refuses_its_ranges(
    remote: RemoteFile, server: StorageServer, framing: str
) -> None:
    def whole(dialogue: Dialogue) -> None:
        if framing == "length":
            dialogue.reply(200, {"ETag": '"none"'})
        else:
            dialogue.head(200, {"Transfer-Encoding": "chunked"})
            dialogue.send(b"0\r\n\r\n")

    server.script("GET", "/k", refuses(416, "InvalidRange"), whole)
    assert remote.size == 0
    assert [request.header("range") for request in server.requests] == ["bytes=0-0", None]


def test_an_object_that_is_not_empty_is_not_fetched_whole_in_place_of_a_range(
    remote: RemoteFile, server: StorageServer
) -> None:
    server.script("GET", "/k", refuses(416, "InvalidRange"))
    with pytest.raises(TransferError, match="gives the object only whole"):
        remote.read(0, 10)


def test_without_an_etag_the_date_tells_of_a_change(
    remote: RemoteFile, server: StorageServer
) -> None:
    dates = [f"Mon, 0{day} Jan 2024 00:00:00 GMT" for day in (1, 2)]
    server.objects["/k"] = Stored(CONTENT, None, {"Last-Modified": dates[0]})
    assert remote.read(0, 10) == CONTENT[:10]
    assert remote.read(10, 10) == CONTENT[10:20]
    server.objects["/k"] = Stored(CONTENT, None, {"Last-Modified": dates[1]})
    with pytest.raises(ObjectChangedError):
        remote.read(20, 10)


def test_who_waits_for_a_url_keeps_no_place_from_others(
    server: StorageServer, options: EngineOptions
) -> None:
    server.objects["/k"] = Stored(CONTENT, '"one"')
    asked, go = [threading.Event(), threading.Event()], threading.Event()
    calls = iter(range(9))

    def presign() -> str:
        call = next(calls)
        asked[call].set()
        assert go.wait(30)
        go.clear()
        return f"{server.url}/k?call={call}"

    engine = Engine(replace(options, concurrency=1, process_concurrency=1))
    slow, other = (RemoteFile(engine, each) for each in (presign, lambda: f"{server.url}/k?s"))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(slow.read, 0, 10)
        assert asked[0].wait(30)
        assert other.read(0, 10) == CONTENT[:10]
        go.set()
        assert first.result(30) == CONTENT[:10]
        server.script("GET", "call=0", refuses(403, "AccessDenied"))
        second = pool.submit(slow.read, 20, 10)
        assert asked[1].wait(30)
        assert other.read(20, 10) == CONTENT[20:30]
        go.set()
        assert second.result(30) == CONTENT[20:30]
    engine.close()


def test_a_broken_read_is_resumed(remote: RemoteFile, server: StorageServer) -> None:
    server.script("GET", "/k", Dialogue.serve, refuses(503, "SlowDown"), cuts_short(30))
    assert remote.read(1000, 100) == CONTENT[1000:1100]
    assert server.requests[-1].header("range") == "bytes=1030-1099"


def test_an_object_that_changed_is_an_error(remote: RemoteFile, server: StorageServer) -> None:
    remote.read(0, 10)
    server.objects["/k"] = Stored(CONTENT, '"two"')
    with pytest.raises(ObjectChangedError):
        remote.read(0, 10)


def test_a_store_without_ranges_is_an_error(remote: RemoteFile, server: StorageServer) -> None:
    server.objects["/k"] = Stored(CONTENT, accepts_ranges=False)
    with pytest.raises(TransferError, match="only whole"):
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


def test_a_read_ends_within_a_moment_when_it_is_to_stop(
    engine: Engine, server: StorageServer
) -> None:
    server.script("GET", "", stalls)

    def check() -> None:
        if server.stalled.is_set():
            raise TaskCancelled

    with pytest.raises(TaskCancelled):
        RemoteFile(engine, lambda: f"{server.url}/k", check=check).read(0, 5)


def test_a_large_read_comes_in_ranges_side_by_side(
    engine: Engine, server: StorageServer, remote: RemoteFile
) -> None:
    content = os.urandom(5 * MIB + 5)
    server.objects["/k"] = Stored(content, '"one"')
    assert remote.read(MIB - 1, 3 * MIB) == content[MIB - 1 : 4 * MIB - 1]
    assert sorted(r.header("range") or "" for r in server.requests[1:]) == [
        "bytes=1048575-2097150",
        "bytes=2097151-3145726",
        "bytes=3145727-4194302",
    ]
    assert remote.read(0, 99 * MIB) == content
    assert len(server.requests) == 1 + 3 + 3
    assert remote.fetched == 8 * MIB + 5


# What libraries read of a file in storage, by way of the file that plugins get.


@pytest.fixture
def opened(engine: Engine, server: StorageServer) -> Iterator[Callable[[bytes], io.BufferedReader]]:
    with ExitStack() as stack:

        def put_and_open(content: bytes) -> io.BufferedReader:
            server.objects["/k"] = Stored(content, '"one"')
            remote = RemoteFile(engine, lambda: f"{server.url}/k?SECRET")
            blocks = InputBlocks(remote.read, remote.size)
            return stack.enter_context(open_blocks(blocks, lambda: None))

        yield put_and_open


def bytes_served(server: StorageServer) -> int:
    """The bytes that were asked for, of which the store has given no more."""
    ends = [(r.header("range") or "").removeprefix("bytes=").split("-") for r in server.requests]
    return sum(int(end) + 1 - int(start) for start, end in ends)


@pytest.fixture(scope="module")
def parquet_file() -> bytes:
    """20 columns of 2 MiB in 4 row groups, uncompressed."""
    numbers = np.random.default_rng(7).random((20, 262_144))
    table = pa.table({f"c{i}": column for i, column in enumerate(numbers)})
    buffer = io.BytesIO()
    parquet.write_table(
        table, buffer, row_group_size=65_536, compression="none", use_dictionary=False
    )
    return buffer.getvalue()


def test_one_column_of_a_parquet_file(
    server: StorageServer, opened: Callable[[bytes], io.BufferedReader], parquet_file: bytes
) -> None:
    column = parquet.read_table(opened(parquet_file), columns=["c3"])
    whole = parquet.read_table(io.BytesIO(parquet_file))
    assert column.equals(whole.select(["c3"]))
    assert bytes_served(server) < len(parquet_file) / 4


def test_one_row_group_of_a_parquet_file_with_pandas(
    server: StorageServer, opened: Callable[[bytes], io.BufferedReader], parquet_file: bytes
) -> None:
    reader = parquet.ParquetFile(opened(parquet_file))
    group = reader.read_row_group(2, columns=["c3"]).to_pandas()
    expected = parquet.ParquetFile(io.BytesIO(parquet_file)).read_row_group(2).to_pandas()
    assert group["c3"].equals(expected["c3"])
    assert bytes_served(server) < len(parquet_file) / 10


def test_a_query_of_duckdb_by_way_of_a_dataset(
    server: StorageServer, opened: Callable[[bytes], io.BufferedReader], parquet_file: bytes
) -> None:
    kind = dataset.ParquetFileFormat()
    fragment = kind.make_fragment(opened(parquet_file))
    numbers = dataset.FileSystemDataset([fragment], fragment.physical_schema, kind)
    with duckdb.connect() as connection:
        connection.register("numbers", numbers)
        found = connection.sql("SELECT count(*), sum(c3) FROM numbers").fetchall()
    expected = parquet.read_table(io.BytesIO(parquet_file))["c3"].to_numpy()
    assert found == [(len(expected), pytest.approx(expected.sum()))]
    assert bytes_served(server) < len(parquet_file) / 4


def test_the_first_chunk_of_a_csv_file_and_then_the_rest(
    server: StorageServer, opened: Callable[[bytes], io.BufferedReader]
) -> None:
    content = b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(1_000_000))
    with pd.read_csv(opened(content), chunksize=10_000) as reader:
        chunks = iter(reader)
        assert list(next(chunks)["b"][:4]) == [0, 1, 4, 9]
        assert bytes_served(server) < len(content) / 4
        assert sum(len(chunk) for chunk in chunks) == 990_000
    assert bytes_served(server) == len(content) + 1


def test_one_member_of_a_zip_archive(
    server: StorageServer, opened: Callable[[bytes], io.BufferedReader]
) -> None:
    buffer, member = io.BytesIO(), os.urandom(1_000_000)
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(20):
            archive.writestr(f"m{number}", member if number == 7 else bytes(1_000_000))
    with zipfile.ZipFile(opened(buffer.getvalue())) as archive:
        assert archive.read("m7") == member
    assert bytes_served(server) < len(buffer.getvalue()) / 4


def test_an_object_that_is_replaced_meanwhile_is_never_mixed_with_the_other(
    server: StorageServer, opened: Callable[[bytes], io.BufferedReader]
) -> None:
    file = opened(bytes(40 * MIB))
    assert file.read(MIB) == bytes(MIB)
    server.objects["/k"] = Stored(b"x" * 40 * MIB, '"two"')
    pieces: list[bytes] = []
    with pytest.raises(ObjectChangedError):
        pieces.extend(iter(lambda: file.read(MIB), b""))
    assert set(b"".join(pieces)) <= {0}


def test_memory_is_bounded_whatever_the_size(server: StorageServer) -> None:
    server.objects["/k"] = Stored(Zeros(600 * MIB), '"one"')
    argv = [sys.executable, "-c", MEMORY, f"{server.url}/k"]
    output = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, timeout=100)
    assert int(output.stdout) <= 96


MEMORY = """
import sys
from pathlib import Path
from plugin_framework.plugin.input_file import InputBlocks, open_blocks
from plugin_framework.transfer.engine import Engine, EngineOptions
from plugin_framework.transfer.remote_file import RemoteFile

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024

remote = RemoteFile(Engine(EngineOptions(allow_private=True)), lambda: sys.argv[1])
idle = peak()
with open_blocks(InputBlocks(remote.read, remote.size), lambda: None) as file:
    while file.read(100_000):
        pass
print(peak() - idle)
"""
