"""Uploads through API and storage together."""

from __future__ import annotations

import hashlib
import os
import random
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from plugin_framework.emulator import Emulator, Store
from tests.emulator.calling import MIB, Plugin, eventually, send

HOSTILE_NAMES = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "a\0b",
    "x" * 5000,
    "<script>alert(1)</script>",
    "名前 \u202e\n.csv",
    "a\\b:c|d",
]


def begin(plugin: Plugin, subtask: str, size: int, chunk: int) -> tuple[str, list[str]]:
    """A multipart upload: its id and its part URLs in order."""
    data = plugin.init(subtask, size, chunk_size=chunk).data
    parts = data["part_upload_urls"]
    assert [part["index"] for part in parts] == list(range(1, len(parts) + 1))
    return data["upload_id"], [part["url"] for part in parts]


def put(url: str, content: bytes) -> str:
    return send("PUT", url, content).headers["etag"]


def test_a_large_multipart_upload_in_parallel(plugin: Plugin, store: Store, running: str) -> None:
    content = random.Random(1).randbytes(64 * MIB + 12345)
    chunk = 5 * MIB
    upload_id, urls = begin(plugin, running, len(content), chunk)
    parts = [content[start : start + chunk] for start in range(0, len(content), chunk)]
    assert len(urls) == len(parts) == 13
    with ThreadPoolExecutor(8) as pool:
        etags = list(pool.map(put, urls, parts))
    assert store.outputs(running) == []
    answer = plugin.complete(running, upload_id, etags)
    assert answer.data["file_url"].startswith(f"{plugin.url}/storage/datahub/")
    (output,) = store.outputs(running)
    assert (output.name, output.size) == ("out", len(content))
    assert output.path.read_bytes() == content
    assert send("PUT", urls[0], b"late").s3_error == (404, "NoSuchUpload")


def test_what_was_uploaded_can_be_downloaded(
    plugin: Plugin, store: Store, running: str, tmp_path: Path
) -> None:
    content = os.urandom(11 * MIB)
    upload_id, urls = begin(plugin, running, len(content), 6 * MIB)
    etags = [put(urls[0], content[: 6 * MIB]), put(urls[1], content[6 * MIB :])]
    plugin.complete(running, upload_id, etags)
    (output,) = store.outputs(running)
    store.create_subtask(f"next-{running}", input=output.path, file_name="renamed")
    url = plugin.download_url(f"next-{running}")
    answer = send("GET", url, headers=[("Range", f"bytes={6 * MIB - 5}-{6 * MIB + 4}")])
    assert answer.body == content[6 * MIB - 5 : 6 * MIB + 5]
    assert hashlib.sha256(send("GET", url).body).digest() == hashlib.sha256(content).digest()


@pytest.mark.parametrize("size", [0, 1, 3 * MIB + 1])
def test_single_uploads(plugin: Plugin, store: Store, running: str, size: int) -> None:
    content = os.urandom(size)
    plugin.upload(running, content)
    (output,) = store.outputs(running)
    assert (output.size, output.path.read_bytes()) == (size, content)


def test_an_empty_multipart_upload_has_one_part(plugin: Plugin, store: Store, running: str) -> None:
    upload_id, (url,) = begin(plugin, running, 0, 5 * MIB)
    plugin.complete(running, upload_id, [put(url, b"")])
    assert store.outputs(running)[0].path.read_bytes() == b""


def test_the_latest_of_a_name_wins(plugin: Plugin, store: Store, running: str) -> None:
    for name, content in (("a", b"1"), ("b", b"2"), ("a", b"3")):
        plugin.upload(running, content, name)
    found = {output.name: output.path.read_bytes() for output in store.outputs(running)}
    assert found == {"a": b"3", "b": b"2"}


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_are_data(
    plugin: Plugin, emulator: Emulator, running: str, name: str, tmp_path: Path
) -> None:
    plugin.upload(running, b"x", name)
    (output,) = emulator.store.outputs(running)
    assert output.name == name
    assert len(output.path.name) == 32
    source = tmp_path / "input"
    source.write_bytes(b"x")
    emulator.store.create_subtask(f"in-{running}", input=source, file_name=name)
    answer = plugin.get("/api/task/download/presign", subtask_id=f"in-{running}")
    assert answer.data["file_name"] == name


def test_ids_are_data(plugin: Plugin, store: Store, running: str) -> None:
    for index, subtask in enumerate(HOSTILE_NAMES):
        store.create_subtask(f"{running}{subtask}")
        plugin.status(f"{running}{subtask}", 1)
        plugin.upload(f"{running}{subtask}", bytes([index]))
        (output,) = store.outputs(f"{running}{subtask}")
        assert output.path.read_bytes() == bytes([index])


def test_both_spellings_are_taken(plugin: Plugin, store: Store, running: str) -> None:
    body = {"subtask_id": running, "filename": "joined", "filesize": 1, "file_md5": "0" * 32}
    data = plugin.post("/api/task/upload/init", body).data
    etag = put(data["part_upload_urls"][0]["url"], b"x")
    plugin.complete(running, data["upload_id"], [etag])
    assert store.outputs(running)[0].name == "joined"


@pytest.mark.parametrize(
    "wrong",
    [
        {"file_name": ""},
        {"file_name": None},
        {"file_name": 1},
        {"file_size": -1},
        {"file_size": 10**30},
        {"file_size": "1"},
        {"file_size": 1.0},
        {"chunk_size": 5 * MIB - 1},
        {"chunk_size": 0},
        {"chunk_size": "5242880"},
        {"chunk_size": 5 * MIB, "file_size": 5 * MIB * 10_000 + 1},
    ],
)
def test_uploads_that_cannot_be(plugin: Plugin, running: str, wrong: dict[str, Any]) -> None:
    body = {"subtask_id": running, "file_name": "a", "file_size": 1} | wrong
    assert plugin.post("/api/task/upload/init", body).refusal == (400, 400)


def test_a_null_chunk_size_is_a_single_upload(plugin: Plugin, running: str) -> None:
    assert len(plugin.init(running, 99 * MIB, chunk_size=None).data["part_upload_urls"]) == 1


def test_nothing_is_uploaded_for_an_ended_subtask(plugin: Plugin, running: str) -> None:
    data = plugin.init(running, 1).data
    etag = put(data["part_upload_urls"][0]["url"], b"x")
    plugin.status(running, 5)
    assert plugin.init(running, 1).refusal == (200, 1)
    assert plugin.complete(running, data["upload_id"], [etag]).refusal == (200, 1)


@pytest.fixture
def two_parts(plugin: Plugin, running: str) -> tuple[str, list[str], list[str]]:
    """An upload of 5 MiB and 1 byte: its id, part URLs and ETags, both parts being stored."""
    upload_id, urls = begin(plugin, running, 5 * MIB + 1, 5 * MIB)
    return upload_id, urls, [put(urls[0], b"a" * 5 * MIB), put(urls[1], b"b")]


def test_complete_wants_the_parts_it_has(
    plugin: Plugin, store: Store, running: str, two_parts: tuple[str, list[str], list[str]]
) -> None:
    upload_id, _, (first, second) = two_parts
    wrong = [[], [first], [second, first], [first, second, second], [first, second.strip('"')]]
    for etags in wrong:
        assert plugin.complete(running, upload_id, etags).refusal == (200, 1)
    for indexes in ((2, 1), (0, 1), (1, 1), (1, 3)):
        parts = [{"index": indexes[0], "etag": first}, {"index": indexes[1], "etag": second}]
        body = {"upload_id": upload_id, "subtask_id": running, "parts": parts}
        assert plugin.post("/api/task/upload/complete", body).refusal == (200, 1)
    assert store.outputs(running) == []
    assert plugin.complete(running, upload_id, [first, second]).json["code"] == 0


def test_complete_is_the_owners(
    plugin: Plugin, store: Store, running: str, two_parts: tuple[str, list[str], list[str]]
) -> None:
    upload_id, _, etags = two_parts
    store.create_subtask(f"other-{running}")
    plugin.status(f"other-{running}", 1)
    assert plugin.complete(f"other-{running}", upload_id, etags).refusal == (200, 1)
    assert plugin.complete(running, "upload_0", etags).refusal == (200, 1)


def test_complete_may_be_repeated_as_it_was(
    plugin: Plugin, store: Store, running: str, two_parts: tuple[str, list[str], list[str]]
) -> None:
    upload_id, _, etags = two_parts
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: plugin.complete(running, upload_id, etags), range(4)))
    plugin.result(running, {})
    answers.append(plugin.complete(running, upload_id, etags))
    assert len({answer.data["file_url"] for answer in answers}) == 1
    assert plugin.complete(running, upload_id, etags[::-1]).refusal == (200, 1)
    assert store.outputs(running)[0].path.read_bytes() == b"a" * 5 * MIB + b"b"


def test_a_part_may_be_sent_again(
    plugin: Plugin, store: Store, running: str, two_parts: tuple[str, list[str], list[str]]
) -> None:
    upload_id, urls, (first, second) = two_parts
    third = put(urls[1], b"c")
    assert plugin.complete(running, upload_id, [first, second]).refusal == (200, 1)
    assert plugin.complete(running, upload_id, [first, third]).json["code"] == 0
    assert store.outputs(running)[0].path.read_bytes() == b"a" * 5 * MIB + b"c"


def test_small_parts_are_refused(plugin: Plugin, running: str) -> None:
    upload_id, urls = begin(plugin, running, 5 * MIB + 1, 5 * MIB)
    etags = [put(urls[0], b"a"), put(urls[1], b"b" * 5 * MIB)]
    answer = plugin.complete(running, upload_id, etags)
    assert answer.refusal == (200, 1)
    assert "EntityTooSmall" in answer.json["msg"]


def test_another_size_than_promised_is_refused(plugin: Plugin, running: str) -> None:
    data = plugin.init(running, 3).data
    etag = put(data["part_upload_urls"][0]["url"], b"four")
    assert plugin.complete(running, data["upload_id"], [etag]).refusal == (200, 1)


def test_a_missing_part_is_refused(plugin: Plugin, running: str) -> None:
    upload_id, urls = begin(plugin, running, 5 * MIB + 1, 5 * MIB)
    second = put(urls[1], b"b")
    assert plugin.complete(running, upload_id, [second, second]).refusal == (200, 1)


def test_a_body_cut_short_leaves_nothing(plugin: Plugin, emulator: Emulator, running: str) -> None:
    def stored() -> set[Path]:
        return set(emulator.store.objects.path("").iterdir())

    before = stored()
    data = plugin.init(running, 3 * MIB).data
    url = urlsplit(data["part_upload_urls"][0]["url"])
    head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: {3 * MIB}"
    with socket.create_connection((url.hostname, url.port), timeout=30) as connection:
        connection.sendall(f"{head}\r\n\r\n".encode() + b"x" * 2 * MIB)
        assert eventually(lambda: stored() != before)
    assert eventually(lambda: stored() == before)
    etag = f'"{hashlib.md5(b"x" * 2 * MIB).hexdigest()}"'
    assert plugin.complete(running, data["upload_id"], [etag]).refusal == (200, 1)


def test_parallel_requests_lose_nothing(plugin: Plugin, store: Store, running: str) -> None:
    def one(index: int) -> int:
        plugin.upload(running, b"%d" % index, f"file-{index}")
        code: int = plugin.beat(running, process=index).json["code"]
        return code

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(40))) == [0] * 40
    outputs = {output.name: output.path.read_bytes() for output in store.outputs(running)}
    assert outputs == {f"file-{index}": b"%d" % index for index in range(40)}
    kinds = [event.kind for event in store.events(running)]
    assert [kinds.count(kind) for kind in ("upload_init", "upload", "heartbeat")] == [40, 40, 40]
