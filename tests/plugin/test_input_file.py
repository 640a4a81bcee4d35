"""The input as a file: like a plain one, with few and bounded reads behind it."""

from __future__ import annotations

import io
import logging
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugin_framework import TaskCancelled, TaskContext
from plugin_framework.errors import ObjectChangedError, TransferError
from plugin_framework.isolation.session import CheckedHost
from plugin_framework.plugin import input_file
from plugin_framework.plugin.context import Gate
from plugin_framework.plugin.input_file import InputBlocks, open_blocks
from tests.isolation.recording_host import DEADLINE, RecordingHost, facts

BLOCK = 1000
DATA = os.urandom(64 * BLOCK + 7)


@pytest.fixture
def host() -> RecordingHost:
    return RecordingHost(DATA)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_file, "BLOCK", BLOCK)
    monkeypatch.setattr(input_file, "BUFFER", 100)


@pytest.fixture
def ctx(host: RecordingHost, gate: Gate, tmp_path: Path) -> TaskContext[Any]:
    log = logging.getLogger("test")
    return TaskContext(facts(tmp_path), None, host=CheckedHost(host), gate=gate, log=log)


def fetched(host: RecordingHost) -> list[tuple[int, int]]:
    """What was asked for, in blocks: the first, and how many."""
    return sorted((offset // BLOCK, -(-size // BLOCK)) for offset, size in host.reads)


OPERATION = st.one_of(
    st.tuples(st.just("read"), st.integers(-1, 6000)),
    st.tuples(st.just("read1"), st.integers(-1, 600)),
    st.tuples(st.just("readinto"), st.integers(0, 3000)),
    st.tuples(st.just("readline"), st.integers(-1, 300)),
    st.tuples(st.just("peek"), st.just(0)),
    st.tuples(st.just("seek"), st.tuples(st.integers(-6000, 6000), st.sampled_from([0, 1, 2, 9]))),
)


def do(file: io.BufferedReader, name: str, argument: Any) -> object:
    try:
        if name == "seek":
            return file.seek(*argument)
        if name == "peek":
            return bool(file.peek())
        if name == "readinto":
            buffer = bytearray(argument)
            return file.readinto(buffer), bytes(buffer)
        if name == "read1":  # how much it returns is its own affair
            return bool(file.seek(-len(file.read1(argument)), io.SEEK_CUR))
        return getattr(file, name)(argument)
    except (OSError, ValueError) as error:
        return type(error)


@settings(max_examples=150, deadline=None)
@given(
    operations=st.lists(OPERATION, max_size=12),
    block=st.integers(1, 6000),
    kept=st.integers(1, 40),
    size=st.sampled_from([0, 1, 999, 1000, 5120]),
)
def test_the_input_is_like_a_plain_file(
    tmp_path_factory: pytest.TempPathFactory,
    operations: list[tuple[str, Any]],
    block: int,
    kept: int,
    size: int,
) -> None:
    path = tmp_path_factory.getbasetemp() / "plain"
    path.write_bytes(DATA[:size])
    with pytest.MonkeyPatch.context() as patch, path.open("rb") as plain:
        patch.setattr(input_file, "BLOCK", block)
        patch.setattr(input_file, "KEPT", kept)
        blocks = InputBlocks(RecordingHost(DATA[:size]).read_input, size)
        with open_blocks(blocks, lambda: None) as file:
            for name, argument in operations:
                assert do(file, name, argument) == do(plain, name, argument)
                assert file.tell() == plain.tell()


def test_it_says_what_it_can_do(ctx: TaskContext[Any]) -> None:
    with ctx.open_input() as file:
        assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)
        for refused in ("fileno", "truncate"):
            with pytest.raises(io.UnsupportedOperation):
                getattr(file, refused)()
        with pytest.raises(TypeError):
            file.seek(1.5)  # type: ignore[arg-type]  # what is to be refused
    assert file.closed
    raw = ctx.open_input().detach()
    raw.close()
    raw.close()
    for late in (lambda: file.read(1), raw.tell, lambda: raw.seek(0), lambda: raw.read(1)):
        with pytest.raises(ValueError, match="closed file"):
            late()


def test_what_is_read_here_and_there_is_fetched_block_by_block(
    ctx: TaskContext[Any], host: RecordingHost
) -> None:
    with ctx.open_input() as file:
        for offset in (30_500, 50, 9_999, 62_000, 30_700):
            file.seek(offset)
            assert file.read(20) == DATA[offset : offset + 20]
    assert fetched(host) == [(0, 1), (9, 2), (30, 1), (62, 1)]


def test_the_end_alone_is_fetched_for_the_end(ctx: TaskContext[Any], host: RecordingHost) -> None:
    with ctx.open_input() as file:
        file.seek(-3, io.SEEK_END)
        assert file.read() == DATA[-3:]
    assert host.reads == [(64 * BLOCK, 7)]


def test_a_large_read_is_asked_for_in_spans_and_nothing_beyond_it(
    ctx: TaskContext[Any], host: RecordingHost
) -> None:
    with ctx.open_input() as file:
        file.seek(5_500)
        assert file.read(20_000) == DATA[5_500:25_500]
    assert fetched(host) == [(5, 8), (13, 8), (21, 5)]


@pytest.mark.parametrize("how", ["whole", "lines", "chunks", "odd chunks"])
def test_a_file_read_from_start_to_end_is_fetched_once_and_ahead_in_growing_steps(
    ctx: TaskContext[Any], host: RecordingHost, how: str
) -> None:
    size = {"whole": -1, "chunks": 250, "odd chunks": 777}.get(how, 0)
    with ctx.open_input() as file:
        pieces = file if how == "lines" else iter(lambda: file.read(size), b"")
        assert b"".join(pieces) == DATA
    assert sum(count for _, count in fetched(host)) == 65
    assert len(host.reads) <= 14
    assert max(count for _, count in fetched(host)) == input_file.SPAN


def test_blocks_that_were_read_are_kept_up_to_a_bound(
    ctx: TaskContext[Any], host: RecordingHost
) -> None:
    with ctx.open_input() as file:
        for index in (*range(0, 64, 2), *range(0, 64, 2)):
            file.seek(index * BLOCK)
            file.read(10)
        assert len(host.reads) == input_file.KEPT
        for index in (1, 0):  # the first one takes the place of the second
            file.seek(index * BLOCK)
            file.read(10)
    assert len(host.reads) == input_file.KEPT + 2


def test_files_that_are_open_at_once_share_their_blocks(
    ctx: TaskContext[Any], host: RecordingHost
) -> None:
    with ctx.open_input() as first, ctx.open_input() as second:
        assert first.read(10) == second.read(10)
        assert len(host.reads) == 1
    with ctx.open_input() as third:  # nothing was kept
        third.read(10)
    assert len(host.reads) == 2


def test_threads_with_a_file_each_read_side_by_side(
    ctx: TaskContext[Any], host: RecordingHost
) -> None:
    def read(start: int) -> bytes:
        with ctx.open_input() as file:
            file.seek(start)
            return b"".join(file.read(200) for _ in range(80))

    with ctx.open_input(), ThreadPoolExecutor(4) as pool:
        pieces = list(pool.map(read, range(0, 64 * BLOCK, 16 * BLOCK)))
    assert b"".join(pieces) == DATA[: 64 * BLOCK]
    # What one reads ahead, beyond its part, another may have read and dropped.
    assert sum(count for _, count in fetched(host)) <= 64 + 4 * 2 * input_file.SPAN


def test_threads_may_share_one_file(ctx: TaskContext[Any]) -> None:
    with ctx.open_input() as file, ThreadPoolExecutor(4) as pool:
        pieces = list(pool.map(lambda _: file.read(64), range(len(DATA) // 64 + 4)))
    assert sorted(pieces) == sorted(
        [*(DATA[i : i + 64] for i in range(0, len(DATA), 64)), b"", b"", b""]
    )


def test_what_is_no_zip_file_is_said_to_be_none(ctx: TaskContext[Any], host: RecordingHost) -> None:
    host.data = b"short"
    with ctx.open_input() as file, pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(file)


class Failing(RecordingHost):
    """Fails from some offset on, and waits before each read if it is told to."""

    def __init__(self, error: BaseException, *, start: int) -> None:
        super().__init__(DATA)
        self.failure = error
        self.start = start

    def read_input(self, offset: int, size: int) -> bytes:
        if offset + size > self.start:
            raise self.failure
        return super().read_input(offset, size)


@pytest.mark.parametrize("error", [ObjectChangedError("changed"), TaskCancelled("cancelled")])
@pytest.mark.parametrize("host", [None])
def test_what_goes_wrong_far_ahead_is_raised_once_it_is_reached(
    host: None, gate: Gate, tmp_path: Path, error: BaseException
) -> None:
    failing = Failing(error, start=20 * BLOCK)
    ctx = TaskContext(facts(tmp_path), None, host=failing, gate=gate, log=logging.getLogger())
    with ctx.open_input() as file:
        pieces: list[bytes] = []
        with pytest.raises(type(error)):
            pieces.extend(iter(lambda: file.read(100), b""))
        received = b"".join(pieces)
        assert len(received) > 4 * BLOCK
        assert received == DATA[: len(received)]
        failing.start = len(DATA) + 1
        file.seek(len(received))
        assert file.read() == DATA[len(received) :]


def test_without_a_thread_to_spare_it_is_read_all_the_same(
    ctx: TaskContext[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with ctx.open_input() as file:
        assert file.read(BLOCK) + file.read(10 * BLOCK) + file.read() == DATA


def test_an_answer_of_another_length_is_no_end_of_the_file() -> None:
    blocks = InputBlocks(lambda _offset, size: b"x" * (size - 1), 50)
    with open_blocks(blocks, lambda: None) as file, pytest.raises(TransferError, match="49 came"):
        file.read()


def test_a_read_is_a_checkpoint(ctx: TaskContext[Any], host: RecordingHost, gate: Gate) -> None:
    read: list[bytes] = []
    with ctx.open_input() as file:
        gate.pause()
        thread = threading.Thread(target=lambda: read.append(file.read(10)))
        thread.start()
        assert host.held.wait(DEADLINE)
        assert not host.reads
        gate.resume()
        thread.join(DEADLINE)
        assert read == [DATA[:10]]
        gate.cancel()
        file.seek(40 * BLOCK)
        with pytest.raises(TaskCancelled):
            file.read(10)


@pytest.fixture
def waiting_host() -> Iterator[tuple[RecordingHost, threading.Event, Callable[[], None]]]:
    """A host whose reads wait until they are let go."""
    host = RecordingHost(DATA)
    asked, go = threading.Event(), threading.Event()
    read = host.read_input

    def wait(offset: int, size: int) -> bytes:
        asked.set()
        assert go.wait(DEADLINE)
        return read(offset, size)

    host.read_input = wait  # type: ignore[method-assign]  # a host that is slow
    yield host, asked, go.set
    go.set()


def test_a_block_that_is_coming_is_not_asked_for_again(
    waiting_host: tuple[RecordingHost, threading.Event, Callable[[], None]],
    gate: Gate,
    tmp_path: Path,
) -> None:
    host, asked, let_go = waiting_host
    ctx = TaskContext(facts(tmp_path), None, host=host, gate=gate, log=logging.getLogger())
    with ctx.open_input() as one, ctx.open_input() as two, ThreadPoolExecutor(2) as pool:
        reads = [pool.submit(one.read, 10), pool.submit(two.read, 10)]
        assert asked.wait(DEADLINE)
        let_go()
        assert [read.result(DEADLINE) for read in reads] == [DATA[:10]] * 2
    assert len(host.reads) == 1
