"""Digests: in file order beside the transfer, never far ahead of it, and before it where asked."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugin_framework.errors import LocalFileError, SourceChangedError, TaskCancelled
from plugin_framework.transfer.digest import hashing, md5_of
from plugin_framework.transfer.plan import MIB

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
    with (
        hashing(fd, SIZE, limit=lambda: SIZE) as sha256,
        pytest.raises(SourceChangedError, match="shorter"),
    ):
        sha256().result(20)


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
