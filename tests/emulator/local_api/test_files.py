"""Files in and out: streamed, named as they are, and run by no browser."""

from __future__ import annotations

import http.client
import threading
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from plugin_framework.emulator import Emulator, Store
from tests.emulator.calling import MIB, Answer, Plugin, eventually, send
from tests.emulator.local_api.calling import MARK, Local, task
from tests.emulator.test_server import peak_memory

NAMES = ["plain.csv", "ä ö/日本.html", 'a"b\\c;d=e.txt', "<script>alert(1)</script>.html", "a\r\nb"]


def attachment(answer: Answer) -> str:
    """The name it is to be kept by, once all that protects us is there."""
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-security-policy"] == "sandbox"
    assert answer.headers["x-content-type-options"] == "nosniff"
    return answer.headers["content-disposition"]


@pytest.mark.parametrize("name", NAMES)
def test_an_output_is_kept_and_never_shown(
    local: Local, plugin: Plugin, running: str, name: str
) -> None:
    content = b"<script>alert(document.domain)</script>"
    plugin.upload(running, content, name)
    (output,) = local.json(task(running, "/outputs"))
    assert (output["name"], output["size"]) == (name, len(content))
    answer = send("GET", local.url + output["href"])
    assert answer.body == content
    assert attachment(answer) == f"attachment; filename*=UTF-8''{quote(name, safe='')}"


def test_the_latest_of_a_name_is_the_output(local: Local, plugin: Plugin, running: str) -> None:
    plugin.upload(running, b"old", "a")
    plugin.upload(running, b"b", "b")
    plugin.upload(running, b"new", "a")
    listed = local.json(task(running, "/outputs"))
    assert {each["name"]: send("GET", local.url + each["href"]).body for each in listed} == {
        "a": b"new",
        "b": b"b",
    }


def test_an_output_is_only_that_of_its_task(
    local: Local, plugin: Plugin, running: str, subtask: str, store: Store
) -> None:
    plugin.upload(running, b"x", "a")
    number = local.json(task(running, "/outputs"))[0]["number"]
    other = store.create_subtask(f"{subtask}-other").subtask_id
    assert local.refusal(local.get(task(other, f"/outputs/{number}")))[0] == 404
    for wrong in ("0", "99999", "-1", "x"):
        assert local.get(task(running, f"/outputs/{wrong}")).status == 404


def test_the_input_comes_in_ranges(local: Local, source: str) -> None:
    whole = bytes(range(256)) * 4
    path = task(source, "/input")
    answer = local.get(path)
    assert (answer.status, answer.body) == (200, whole)
    assert attachment(answer) == "attachment; filename*=UTF-8''input.bin"
    for asked, got in (("0-0", whole[:1]), ("1000-", whole[1000:]), ("-5", whole[-5:])):
        part = local.get(path, ("Range", f"bytes={asked}"))
        assert (part.status, part.body) == (206, got)
        assert attachment(part)
    beyond = local.get(path, ("Range", "bytes=1024-"))
    assert (beyond.status, beyond.headers["content-range"]) == (416, "bytes */1024")


def test_an_input_that_is_gone_is_404(local: Local, store: Store, tmp_path: Path) -> None:
    linked = tmp_path / "input"
    linked.write_bytes(b"x")
    subtask_id = store.create_subtask(f"gone-{tmp_path.name}", input=linked).subtask_id
    key, _ = store.input_of(subtask_id)
    store.objects.find(key).path.unlink()
    assert local.refusal(local.get(task(subtask_id, "/input")))[0] == 404


def test_a_task_without_an_input_has_none(local: Local, subtask: str) -> None:
    assert local.refusal(local.get(task(subtask, "/input")))[0] == 404
    assert local.json(task(subtask))["input"] is None


@pytest.mark.parametrize("name", NAMES[:-1])
@pytest.mark.parametrize("size", [0, 1, 3 * MIB + 1])
def test_what_is_handed_in_is_what_the_plugin_reads(
    local: Local, store: Store, plugin: Plugin, tmp_path: Path, name: str, size: int
) -> None:
    content = bytes(size)
    answer = local.send("PUT", "inputs", content, name=name)
    assert (answer.status, answer.json["size"]) == (201, size)
    subtask_id = f"{tmp_path.name}-{size}"
    store.create_subtask(subtask_id, input=str(answer.json["input"]))
    found = plugin.get("/api/task/download/presign", subtask_id=subtask_id).data
    assert found["file_name"] == name
    assert send("GET", found["download_url"]).body == content
    assert local.json(task(subtask_id))["input"] == {"name": name, "size": size}


@pytest.mark.parametrize("name", ["", "a" * 256, "a\nb", "a\0", "\u2028"])
def test_what_is_no_file_name_is_400(local: Local, name: str) -> None:
    assert local.refusal(local.send("PUT", "inputs", b"x", name=name))[0] == 400


def test_the_name_and_the_length_are_required(local: Local) -> None:
    assert local.refusal(local.send("PUT", "inputs", b"x"))[0] == 400
    chunked = send("PUT", f"{local.url}/local/inputs?name=a", iter([b"x"]), [MARK])
    assert local.refusal(chunked)[0] == 411


def test_an_upload_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    with Emulator(state_dir=tmp_path) as emulator:
        stored = tmp_path / "objects"
        connection = http.client.HTTPConnection(urlsplit(emulator.url).netloc, timeout=30)
        connection.putrequest("PUT", "/local/inputs?name=a")
        connection.putheader(*MARK)
        connection.putheader("Content-Length", str(8 * MIB))
        connection.endheaders(bytes(4 * MIB))
        assert eventually(lambda: any(path.stat().st_size for path in stored.iterdir()))
        connection.close()
        assert eventually(lambda: not any(stored.iterdir()))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    size = 192 * MIB
    with Emulator(state_dir=tmp_path) as emulator:
        local = Local(emulator.url)
        local.json("info")
        before = peak_memory(emulator.pid)
        key = local.send("PUT", "inputs", bytes(size), name="a").json["input"]
        emulator.store.create_subtask("a", input=str(key))
        assert len(local.get(task("a", "/input")).body) == size
        assert peak_memory(emulator.pid) - before < 48 * 1024


def test_many_are_taken_side_by_side(local: Local) -> None:
    answers: list[Answer] = []

    def put(content: bytes) -> None:
        answers.append(local.send("PUT", "inputs", content, name="a"))

    threads = [threading.Thread(target=put, args=(bytes(MIB),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({answer.json["input"] for answer in answers}) == 8
