"""What is completed is what the file has, and never what only looked like it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from plugin_framework.errors import SourceChangedError, StorageUnreachableError
from plugin_framework.transfer.engine import Engine
from plugin_framework.transfer.exchange import BinaryWindow
from plugin_framework.transfer.plan import MIB
from plugin_framework.transfer.upload import Uploaded, upload_file
from tests.transfer.storage_server import Dialogue, StorageServer, answers_early
from tests.transfer.test_upload import CHUNK, Api

LARGE = 30 * MIB
"""Bytes: more than the buffers of a connection hold."""


@pytest.fixture
def api(server: StorageServer) -> Api:
    return Api(server)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(os.urandom(MIB) * 12)
    return path


@pytest.fixture
def send(engine: Engine, api: Api, source: Path) -> Callable[[], Uploaded]:
    return lambda: upload_file(engine, source, name="out.bin", api=api, chunk=CHUNK)


def test_a_success_before_all_was_sent_is_none(
    engine: Engine, server: StorageServer, tmp_path: Path
) -> None:
    source = tmp_path / "large"
    with source.open("wb") as file:
        file.truncate(LARGE)
    server.script("PUT", "", answers_early)
    with (
        source.open("rb") as file,
        pytest.raises(StorageUnreachableError),
    ):
        engine.put(f"{server.url}/k", BinaryWindow(file.fileno(), 0, LARGE), lambda: False)


def test_what_was_stored_too_early_is_sent_again(
    engine: Engine, server: StorageServer, api: Api, tmp_path: Path
) -> None:
    source = tmp_path / "large"
    source.write_bytes(os.urandom(MIB) * (LARGE // MIB))
    server.script("PUT", "", answers_early, answers_early)
    upload_file(engine, source, name="f", api=api, chunk=LARGE)
    assert api.content() == source.read_bytes()


def test_a_change_whose_date_is_put_back_is_noticed(
    server: StorageServer, api: Api, source: Path, send: Callable[[], Uploaded]
) -> None:
    def fault(dialogue: Dialogue) -> None:
        dialogue.read_body()
        before = source.stat()
        with source.open("r+b") as file:
            file.write(b"other bytes")
        os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
        dialogue.reply(200, {"ETag": '"e"'})

    server.script("PUT", "/p1", fault)
    with pytest.raises(SourceChangedError):
        send()
    assert not api.completed


def test_a_new_name_and_mode_are_no_change(
    server: StorageServer, api: Api, source: Path, send: Callable[[], Uploaded]
) -> None:
    def fault(dialogue: Dialogue) -> None:
        source.chmod(0o600)
        source.rename(source.with_name("renamed"))
        dialogue.take()  # replies last: the upload has not ended before

    server.script("PUT", "/p1", fault)
    stored = send()
    assert api.content() == source.with_name("renamed").read_bytes()
    assert stored.sha256 == hashlib.sha256(api.content()).hexdigest()
