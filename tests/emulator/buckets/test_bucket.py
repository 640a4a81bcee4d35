"""Uploads and downloads by a plugin, with the bytes in a real store's bucket."""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from plugin_framework import Settings, TaskStatus, run_task
from plugin_framework.emulator import Emulator, Refused, Store
from plugin_framework.protocol.models import CompletedPart
from tests.dialects.stores import RunningStore
from tests.emulator.buckets.conftest import PREFIX
from tests.emulator.buckets.copying import Copying
from tests.emulator.calling import MIB, Answer, Plugin, eventually, send

CHUNK = 5 * MIB


def begin(plugin: Plugin, subtask: str, size: int) -> tuple[str, list[str]]:
    """A multipart upload: its id and its part URLs in order."""
    data = plugin.init(subtask, size, chunk_size=CHUNK).data
    return data["upload_id"], [part["url"] for part in data["part_upload_urls"]]


def put(url: str, content: bytes) -> str:
    return send("PUT", url, content).headers["etag"]


def stored(store: Store, subtask: str) -> dict[str, bytes]:
    return {each.name: b"".join(store.read(each.key)) for each in store.outputs(subtask)}


def keys(real: RunningStore) -> set[str]:
    found = real.client.list_objects_v2(Bucket=real.account.bucket)
    return {each["Key"] for each in found.get("Contents", [])}


def uploads(real: RunningStore, prefix: str = PREFIX) -> list[dict[str, Any]]:
    """What the store has of uploads that go on."""
    found = real.client.list_multipart_uploads(Bucket=real.account.bucket, Prefix=prefix)
    under_way: list[dict[str, Any]] = found.get("Uploads", [])
    return under_way


@pytest.fixture
def two_parts(plugin: Plugin, running: str) -> tuple[str, list[str], list[str]]:
    """An upload of 5 MiB and 1 byte: its id, part URLs and ETags, both parts being stored."""
    upload_id, urls = begin(plugin, running, CHUNK + 1)
    return upload_id, urls, [put(urls[0], b"a" * CHUNK), put(urls[1], b"b")]


def test_a_plugin_from_input_to_output(
    emulator: Emulator, real: RunningStore, tmp_path: Path
) -> None:
    content = random.Random(1).randbytes(12 * MIB + 1)
    (tmp_path / "input.bin").write_bytes(content)
    emulator.store.create_subtask("whole", input=tmp_path / "input.bin")
    settings = Settings(
        base_url=emulator.url,
        state_dir=tmp_path / "state",
        log_level="ERROR",
        isolation="thread",
        transfer={"chunk_size": CHUNK},
    )
    outcome = run_task(Copying, subtask_id="whole", settings=settings)
    assert (outcome.status, outcome.error) == (TaskStatus.COMPLETED, None)
    wanted = {"whole.bin": content, "first <byte>.bin": content[:1]}
    assert stored(emulator.store, "whole") == wanted
    assert downloaded(emulator, "whole") == wanted
    assert send("GET", f"{emulator.url}/local/tasks/whole/input").body == content
    for output in emulator.store.outputs("whole"):
        found = real.client.get_object(Bucket=real.account.bucket, Key=output.key)
        assert found["Body"].read() == wanted[output.name]
        with pytest.raises(ValueError, match="real store"):
            output.path.exists()


def downloaded(emulator: Emulator, subtask: str) -> dict[str, bytes]:
    """The outputs, as the page offers them."""
    listed = Plugin(emulator.url).get(f"/local/tasks/{subtask}/outputs").body
    offered = Answer(200, {}, b'{"outputs": %s}' % listed).json["outputs"]
    return {each["name"]: send("GET", emulator.url + each["href"]).body for each in offered}


def test_a_file_that_people_hand_in(emulator: Emulator, plugin: Plugin) -> None:
    content = os.urandom(MIB)
    mark = [("X-Datahub-Local", "1")]
    answer = send("PUT", f"{emulator.url}/local/inputs?name=a%20b.csv", content, mark)
    emulator.store.create_subtask("handed-in", input=answer.json["input"])
    data = plugin.get("/api/task/download/presign", subtask_id="handed-in").data
    assert (data["file_name"], send("GET", data["download_url"]).body) == ("a b.csv", content)
    ranged = send("GET", data["download_url"], headers=[("Range", "bytes=5-9")])
    assert (ranged.status, ranged.body) == (206, content[5:10])
    assert list(emulator.store.objects.path("").iterdir()) == []


@pytest.mark.parametrize("size", [0, 1, 3 * MIB + 1])
def test_single_uploads(plugin: Plugin, store: Store, running: str, size: int) -> None:
    content = os.urandom(size)
    url = plugin.upload(running, content)
    assert "?" not in url
    assert stored(store, running) == {"out": content}


def test_an_empty_upload_of_one_part(plugin: Plugin, store: Store, running: str) -> None:
    upload_id, (url,) = begin(plugin, running, 0)
    assert plugin.complete(running, upload_id, [put(url, b"")]).json["code"] == 0
    assert stored(store, running) == {"out": b""}


def test_the_stores_upload_id_is_its_own(plugin: Plugin, real: RunningStore, running: str) -> None:
    upload_id, (url,) = begin(plugin, running, 1)
    assert upload_id.startswith("upload_")
    assert url.startswith(f"{real.account.endpoint}/{real.account.bucket}/{PREFIX}/")
    assert f"uploadId={upload_id}" not in url


def test_complete_wants_what_the_store_has(
    plugin: Plugin, store: Store, running: str, two_parts: tuple[str, list[str], list[str]]
) -> None:
    upload_id, _, (first, second) = two_parts
    for etags in ([], [first], [second, first], [first, second, second], [first, '"0"']):
        answer = plugin.complete(running, upload_id, etags)
        assert answer.refusal == (200, 1)
        assert "\n" not in answer.json["msg"]
    assert stored(store, running) == {}
    assert plugin.complete(running, upload_id, [first, second]).json["code"] == 0
    assert stored(store, running) == {"out": b"a" * CHUNK + b"b"}


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
    assert stored(store, running) == {"out": b"a" * CHUNK + b"b"}


def test_what_the_store_did_and_we_did_not_live_to_record(
    plugin: Plugin, store: Store, running: str, two_parts: tuple[str, list[str], list[str]]
) -> None:
    upload_id, _, etags = two_parts
    parts = [CompletedPart(index=index, etag=etag) for index, etag in enumerate(etags, 1)]
    store.backend.gather(store.uploads.find(upload_id), parts, str)
    assert plugin.complete(running, upload_id, etags[::-1]).refusal == (200, 1)
    assert stored(store, running) == {}
    assert plugin.complete(running, upload_id, etags).json["code"] == 0
    assert stored(store, running) == {"out": b"a" * CHUNK + b"b"}


def test_a_part_may_be_sent_again(
    plugin: Plugin, store: Store, running: str, two_parts: tuple[str, list[str], list[str]]
) -> None:
    upload_id, urls, (first, _) = two_parts
    third = put(urls[1], b"c")
    assert plugin.complete(running, upload_id, [first, third]).json["code"] == 0
    assert stored(store, running) == {"out": b"a" * CHUNK + b"c"}


def test_small_parts_are_refused_by_whatever_store(plugin: Plugin, running: str) -> None:
    upload_id, urls = begin(plugin, running, CHUNK + 1)
    etags = [put(urls[0], b"a"), put(urls[1], b"b" * CHUNK)]
    answer = plugin.complete(running, upload_id, etags)
    assert answer.refusal == (200, 1)
    assert "EntityTooSmall" in answer.json["msg"]


def test_another_size_than_promised_is_refused(plugin: Plugin, running: str) -> None:
    data = plugin.init(running, 3).data
    etag = put(data["part_upload_urls"][0]["url"], b"four")
    assert plugin.complete(running, data["upload_id"], [etag]).refusal == (200, 1)


def test_what_was_never_completed_is_removed_when_the_subtask_ends(
    plugin: Plugin, store: Store, real: RunningStore, running: str
) -> None:
    before, under_way = keys(real), len(uploads(real))
    plugin.upload(running, b"kept")
    (kept,) = store.outputs(running)
    single = plugin.init(running, 1).data["part_upload_urls"][0]["url"]
    put(single, b"x")
    _, urls = begin(plugin, running, CHUNK + 1)
    put(urls[1], b"b")
    assert (len(keys(real) - before), len(uploads(real))) == (2, under_way + 1)
    plugin.status(running, 5)
    assert eventually(lambda: keys(real) - before == {kept.key})
    assert eventually(lambda: len(uploads(real)) == under_way)
    assert send("PUT", urls[0], b"a").status == 404


def test_an_upload_of_nobody_leaves_nothing(plugin: Plugin, real: RunningStore) -> None:
    under_way = len(uploads(real))
    body = {"subtask_id": "nobody", "file_name": "a", "file_size": 1, "chunk_size": CHUNK}
    assert plugin.post("/api/task/upload/init", body).refusal == (200, 1)
    assert len(uploads(real)) == under_way


def test_an_object_that_somebody_removed(
    emulator: Emulator, plugin: Plugin, real: RunningStore, running: str
) -> None:
    plugin.upload(running, b"x")
    (output,) = emulator.store.outputs(running)
    real.client.delete_object(Bucket=real.account.bucket, Key=output.key)
    with pytest.raises(Refused, match="NoSuchKey"):
        b"".join(emulator.store.read(output.key))
    answer = send("GET", f"{emulator.url}/local/tasks/{running}/outputs/{output.number}")
    assert (answer.status, b"NoSuchKey" in answer.body) == (502, True)


def test_the_local_storage_is_not_served_beside_it(emulator: Emulator) -> None:
    assert send("GET", f"{emulator.url}/storage/datahub/key").status == 404
