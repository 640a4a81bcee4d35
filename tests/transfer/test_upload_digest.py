"""Digests: in file order beside the transfer, never far ahead of it, and before it where asked."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from plugin_framework.errors import LocalFileError, SourceChangedError, TaskCancelled
from plugin_framework.transfer.digest import hashing, md5_of
from plugin_framework.transfer.engine import Engine, EngineOptions
from plugin_framework.transfer.plan import MIB
from plugin_framework.transfer.upload import upload_file
from tests.transfer.storage_server import StorageServer
from tests.transfer.test_upload import Api

SIZE = 3 * MIB + 5


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def fd(source: Path) -> Iterator[int]:
    with source.open("rb", buffering=0) as file:
        yield file.fileno()


def test_the_digest_waits_for_what_may_be_read(fd: int, source: Path) -> None:
    limit, asked = [MIB], threading.Event()

    def readable() -> int:
        if limit == [MIB]:
            asked.set()
        return limit[0]

    with hashing(fd, SIZE, limit=readable) as sha256:
        assert asked.wait(20)
        assert not sha256().done()
        limit[0] = SIZE
        assert sha256().result(20) == hashlib.sha256(source.read_bytes()).hexdigest()


def test_a_file_that_becomes_shorter_has_no_digest(fd: int, source: Path) -> None:
    os.truncate(source, 2 * MIB)
    read: list[int] = []
    with (
        hashing(fd, SIZE, limit=lambda: SIZE, moved=read.append) as sha256,
        pytest.raises(SourceChangedError, match="shorter"),
    ):
        sha256().result(20)
    assert read == [MIB, 2 * MIB, SIZE], "nobody waits for it any more"


def test_a_transfer_that_ends_takes_its_digest_along(fd: int) -> None:
    with hashing(fd, SIZE, limit=lambda: 0) as sha256:
        future = sha256()
    with pytest.raises(SourceChangedError):
        future.result(20)


def test_the_md5_of_a_file(source: Path) -> None:
    assert md5_of(source, lambda: None) == hashlib.md5(source.read_bytes()).hexdigest()
    with pytest.raises(LocalFileError, match=r"cannot read .*missing: No such file"):
        md5_of(source.with_name("missing"), lambda: None)


def test_a_cancel_ends_the_md5(source: Path) -> None:
    def check() -> None:
        raise TaskCancelled

    with pytest.raises(TaskCancelled):
        md5_of(source, check)


def test_what_is_sent_waits_for_a_digest_that_falls_behind(
    server: StorageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = 5 * MIB
    source = tmp_path / "source"
    source.touch()
    os.truncate(source, 8 * chunk)
    api, told, ticks = Api(server), threading.Event(), threading.Semaphore(0)
    digest: Future[str] = Future()
    moved: list[Callable[[int], object]] = []

    @contextmanager
    def slow(*_: object, **given: Any) -> Iterator[Callable[[], Future[str]]]:
        moved.append(given["moved"])
        told.set()
        yield lambda: digest

    monkeypatch.setattr("plugin_framework.transfer.upload.hashing", slow)
    engine = Engine(EngineOptions(concurrency=8, allow_private=True))
    with closing(engine), ThreadPoolExecutor(1) as pool:
        sent = pool.submit(
            upload_file,
            engine,
            source,
            name="f",
            api=api,
            chunk=chunk,
            progress=lambda _sent, _total: ticks.release(),
        )
        assert told.wait(20)
        for parts in (3, 4, 6):
            while len(api.kept) < parts:
                assert ticks.acquire(timeout=20)
            for _ in range(20):
                assert ticks.acquire(timeout=20)
            assert len(server.requests) == parts
            moved[0]({3: chunk, 4: 3 * chunk, 6: 8 * chunk}[parts])
        digest.set_result("0" * 64)
        assert sent.result(20).sha256 == "0" * 64
        assert len(api.kept) == 8
