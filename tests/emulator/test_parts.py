"""Parts are written where they belong, and what was stored once is harmed by nothing."""

from __future__ import annotations

import os
import random
import signal
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from plugin_framework.emulator import Emulator, Store
from tests.emulator.calling import MIB, Plugin, eventually, send

CHUNK = 5 * MIB
CONTENT = random.Random(2).randbytes(2 * CHUNK + MIB)
PIECES = [CONTENT[start : start + CHUNK] for start in range(0, len(CONTENT), CHUNK)]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(state_dir=tmp_path_factory.mktemp("datahub")) as running:
        yield running


@pytest.fixture
def plugin(emulator: Emulator) -> Plugin:
    return Plugin(emulator.url)


@pytest.fixture
def running(plugin: Plugin, store: Store) -> Iterator[str]:
    """A subtask in status 1; its files are gone when it has ended."""
    subtask = store.create_subtask(f"subtask-{uuid.uuid4()}").subtask_id
    plugin.status(subtask, 1)
    before = files(store)
    yield subtask
    outputs = {output.path for output in store.outputs(subtask)}
    plugin.status(subtask, 5)
    assert eventually(lambda: files(store) == before | outputs)


def files(store: Store) -> set[Path]:
    return set(store.objects.path("").iterdir())


def begin(plugin: Plugin, subtask: str, size: int = len(CONTENT)) -> tuple[str, list[str]]:
    data = plugin.init(subtask, size, chunk_size=CHUNK).data
    return data["upload_id"], [part["url"] for part in data["part_upload_urls"]]


def put(url: str, content: bytes) -> str:
    return send("PUT", url, content).headers["etag"]


@contextmanager
def half_sent(url: str, content: bytes) -> Iterator[socket.socket]:
    """A PUT of which half has arrived."""
    parts = urlsplit(url)
    head = (
        f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        connection.sendall(head.encode() + content[: len(content) // 2])
        yield connection


def writing(emulator: Emulator, upload_id: str) -> bool:
    """Whether a part of it is being written to its place."""
    with emulator.store.database.reading() as sql:
        query = "SELECT 1 FROM claims WHERE upload_id = ?"
        return sql.execute(query, (upload_id,)).fetchone() is not None


def result(store: Store, subtask: str) -> bytes:
    (output,) = store.outputs(subtask)
    return output.path.read_bytes()


def test_an_object_is_the_file_that_its_parts_were_written_to(
    plugin: Plugin, store: Store, running: str
) -> None:
    before = files(store)
    upload_id, urls = begin(plugin, running)
    etags = [put(url, piece) for url, piece in reversed(list(zip(urls, PIECES, strict=True)))]
    (made,) = files(store) - before
    inode = made.stat().st_ino
    plugin.complete(running, upload_id, reversed(etags))
    (output,) = store.outputs(running)
    assert (output.path, output.path.stat().st_ino) == (made, inode)
    assert result(store, running) == CONTENT


def test_a_part_that_is_sent_again_is_whole_or_as_it_was(
    emulator: Emulator, plugin: Plugin, store: Store, running: str
) -> None:
    upload_id, urls = begin(plugin, running)
    etags = [put(url, piece) for url, piece in zip(urls, PIECES, strict=True)]
    stored = files(store)
    with half_sent(urls[0], bytes(CHUNK)):
        assert eventually(lambda: files(store) != stored)
    assert eventually(lambda: files(store) == stored)
    etags[1] = put(urls[1], PIECES[1][::-1])
    plugin.complete(running, upload_id, etags)
    assert result(store, running) == PIECES[0] + PIECES[1][::-1] + PIECES[2]


def test_a_late_part_does_not_reach_the_object(
    emulator: Emulator, plugin: Plugin, store: Store, running: str
) -> None:
    upload_id, urls = begin(plugin, running)
    with half_sent(urls[0], bytes(CHUNK)) as connection:
        assert eventually(lambda: writing(emulator, upload_id))
        etags = [put(url, piece) for url, piece in zip(urls, PIECES, strict=True)]
        assert plugin.complete(running, upload_id, etags).json["code"] == 0
        connection.sendall(bytes(CHUNK - CHUNK // 2))
        answer = b""
        while b"</Error>" not in answer and (more := connection.recv(65536)):
            answer += more
        assert b"NoSuchUpload" in answer
    assert result(store, running) == CONTENT


def test_a_part_that_was_cut_short_leaves_its_place_free(
    emulator: Emulator, plugin: Plugin, store: Store, running: str
) -> None:
    before = files(store)
    upload_id, urls = begin(plugin, running)
    with half_sent(urls[0], bytes(CHUNK)):
        assert eventually(lambda: writing(emulator, upload_id))
    assert eventually(lambda: not writing(emulator, upload_id))
    etags = [put(url, piece) for url, piece in zip(urls, PIECES, strict=True)]
    assert len(files(store) - before) == 1
    plugin.complete(running, upload_id, etags)
    assert result(store, running) == CONTENT


def test_parts_of_other_sizes_than_announced(plugin: Plugin, store: Store, running: str) -> None:
    upload_id, urls = begin(plugin, running)
    cuts = [0, CHUNK + 7, 2 * CHUNK + 7, len(CONTENT)]
    pieces = [CONTENT[start:stop] for start, stop in pairwise(cuts)]
    etags = [put(url, piece) for url, piece in zip(urls, pieces, strict=True)]
    plugin.complete(running, upload_id, etags)
    assert result(store, running) == CONTENT


def test_a_completion_that_was_refused_harms_nothing(
    plugin: Plugin, store: Store, running: str
) -> None:
    upload_id, urls = begin(plugin, running)
    etags = [put(url, piece) for url, piece in zip(urls, PIECES, strict=True)]
    assert plugin.complete(running, upload_id, etags[::-1]).json["code"] == 1
    etags[0] = put(urls[0], PIECES[0][::-1])
    plugin.complete(running, upload_id, etags)
    assert result(store, running) == PIECES[0][::-1] + PIECES[1] + PIECES[2]


def test_an_upload_that_an_older_version_began(plugin: Plugin, store: Store, running: str) -> None:
    upload_id, urls = begin(plugin, running)
    with store.database.transaction() as sql:
        sql.execute("UPDATE uploads SET chunk = NULL WHERE upload_id = ?", (upload_id,))
    etags = [put(url, piece) for url, piece in zip(urls, PIECES, strict=True)]
    plugin.complete(running, upload_id, etags)
    assert result(store, running) == CONTENT


def test_what_was_never_completed_is_removed_when_the_subtask_ends(
    plugin: Plugin, store: Store, running: str
) -> None:
    before = files(store)
    _, urls = begin(plugin, running)
    put(urls[0], PIECES[0])
    put(urls[0], PIECES[1])
    single = plugin.init(running, 1).data["part_upload_urls"][0]["url"]
    put(single, b"x")
    assert len(files(store) - before) == 3
    plugin.result(running, {})
    assert eventually(lambda: files(store) == before)
    assert send("PUT", urls[0], b"x").s3_error == (404, "NoSuchUpload")
    assert send("PUT", single, b"x").s3_error == (404, "NoSuchKey")


def test_a_kill_leaves_no_place_taken(tmp_path: Path) -> None:
    with Emulator(state_dir=tmp_path) as emulator:
        port = urlsplit(emulator.url).port or 0
        emulator.store.create_subtask("a")
        plugin = Plugin(emulator.url)
        plugin.status("a", 1)
        upload_id, urls = begin(plugin, "a")
        etags = [put(urls[0], PIECES[0])]
        with half_sent(urls[1], bytes(CHUNK)) as connection:
            assert eventually(lambda: writing(emulator, upload_id))
            os.kill(emulator.pid, signal.SIGKILL)
            with suppress(ConnectionResetError):
                assert not connection.recv(1)
    with Emulator(state_dir=tmp_path, port=port) as emulator:
        etags += [put(url, piece) for url, piece in list(zip(urls, PIECES, strict=True))[1:]]
        assert len(files(emulator.store)) == 1
        plugin.complete("a", upload_id, etags)
        assert result(emulator.store, "a") == CONTENT
