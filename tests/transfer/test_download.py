from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from plugin_framework.errors import (
    LocalFileError,
    StorageError,
    TransferError,
)
from plugin_framework.transfer.download import Downloaded, download_file
from plugin_framework.transfer.engine import Engine, EngineOptions
from tests.transfer.storage_server import (
    MIB,
    Dialogue,
    Fault,
    StorageServer,
    Stored,
    Zeros,
    answers,
    changes_to,
    cuts_short,
    refuses,
    resets_in_body,
)

CHUNK = 100_000
CONTENT = os.urandom(450_001)
OTHER = os.urandom(450_001)


class Presign:
    """Gives a new URL at each call."""

    def __init__(self, server: StorageServer) -> None:
        self.server = server
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        return f"{self.server.url}/k?call={self.calls}&X-Amz-Signature=SECRET"


@pytest.fixture
def presign(server: StorageServer) -> Presign:
    server.objects["/k"] = Stored(CONTENT, '"one"')
    return Presign(server)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder / "target.bin"


@pytest.fixture
def fetch(engine: Engine, presign: Presign, target: Path) -> Callable[[], Downloaded]:
    return lambda: download_file(engine, presign, target, chunk=CHUNK)


@pytest.fixture(autouse=True)
def _nothing_is_left_over(tmp_path: Path) -> Iterator[None]:
    yield
    left = [*tmp_path.rglob(".download-*.part"), *tmp_path.rglob(".download-*.log")]
    assert left == []


def ranges_of(server: StorageServer) -> list[str | None]:
    return [request.header("range") for request in server.requests]


def test_an_object_comes_in_ranges_and_whole(
    engine: Engine, server: StorageServer, presign: Presign, target: Path
) -> None:
    seen: list[tuple[int, int]] = []
    done = download_file(
        engine,
        presign,
        target,
        chunk=CHUNK,
        progress=lambda received, total: seen.append((received, total)),
    )
    assert done == Downloaded(target, len(CONTENT), '"one"')
    assert target.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert ranges_of(server)[0] == "bytes=0-99999"
    assert "bytes=400000-450000" in ranges_of(server)
    assert [request.header("if-match") for request in server.requests] == [None, *['"one"'] * 4]
    assert {request.method for request in server.requests} == {"GET"}
    assert presign.calls == 1


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1])
def test_edges_of_size(
    server: StorageServer, presign: Presign, fetch: Callable[[], Downloaded], size: int
) -> None:
    server.objects["/k"] = Stored(CONTENT[:size], '"one"')
    done = fetch()
    assert done.size == size
    assert done.path.read_bytes() == CONTENT[:size]


def test_a_416_that_says_nothing_is_looked_into(
    server: StorageServer, fetch: Callable[[], Downloaded]
) -> None:
    server.objects["/k"] = Stored(b"")
    server.script("GET", "/k", answers(416))
    assert fetch().size == 0
    assert ranges_of(server) == ["bytes=0-99999", None]


@pytest.mark.parametrize(
    "fault",
    [
        resets_in_body,
        refuses(503, "SlowDown"),
        refuses(500, "InternalError"),
        cuts_short(0),
        cuts_short(70_000),
        answers(206, {"ETag": '"one"'}, b"x"),
        answers(206, {"ETag": '"one"', "Content-Range": "bytes 0-99999/450001"}, CONTENT[:100_000]),
        answers(206, {"ETag": '"one"', "Content-Range": "bytes 200000-200000/450001"}, b"xyz"),
        answers(206, {"ETag": '"one"', "Content-Range": "bytes 200000-200000/450001"}),
        answers(204),
    ],
    ids=["reset", "503", "500", "cut", "short", "no-range", "other-range", "more", "none", "204"],
)
def test_a_range_that_failed_is_fetched_again_alone(
    server: StorageServer, fetch: Callable[[], Downloaded], fault: Fault
) -> None:
    server.script("GET", "/k", Dialogue.serve)
    server.script("GET", "/k", Dialogue.serve, fault, fault)
    assert fetch().path.read_bytes() == CONTENT


def test_a_range_is_resumed_where_it_broke(
    server: StorageServer, fetch: Callable[[], Downloaded]
) -> None:
    server.script("GET", "/k", cuts_short(70_000), cuts_short(10))
    assert fetch().path.read_bytes() == CONTENT
    assert ranges_of(server)[:3] == ["bytes=0-99999", "bytes=70000-99999", "bytes=70010-99999"]


@pytest.mark.parametrize(
    "changed",
    [
        Stored(OTHER, '"two"'),
        Stored(OTHER[:150_000], '"two"'),
        Stored(OTHER[:30_000], '"two"'),
        Stored(OTHER + OTHER, '"two"'),
        Stored(b"", '"two"'),
    ],
    ids=["same-size", "smaller", "one-range", "larger", "empty"],
)
def test_an_object_that_changes_is_begun_again(
    server: StorageServer, fetch: Callable[[], Downloaded], changed: Stored
) -> None:
    server.script("GET", "/k", Dialogue.serve, changes_to(changed))
    done = fetch()
    assert (done.size, done.etag) == (len(changed.content), '"two"' if changed.content else None)
    assert done.path.read_bytes() == changed.content[0:]


def test_a_store_that_ignores_if_match_is_seen_through(
    server: StorageServer, fetch: Callable[[], Downloaded]
) -> None:
    def lax(dialogue: Dialogue) -> None:
        headers = dialogue.request.headers
        dialogue.request.headers = [pair for pair in headers if pair[0] != "If-Match"]
        changes_to(Stored(OTHER, '"two"'))(dialogue)

    server.script("GET", "/k", Dialogue.serve, lax)
    assert fetch().path.read_bytes() == OTHER


@pytest.mark.parametrize("etag", ['W/"weak"', None])
def test_without_a_strong_etag_there_is_no_if_match(
    server: StorageServer, presign: Presign, fetch: Callable[[], Downloaded], etag: str | None
) -> None:
    server.objects["/k"] = Stored(CONTENT, etag)
    assert fetch().etag == etag
    assert {request.header("if-match") for request in server.requests} == {None}


def test_an_object_that_never_holds_still_is_given_up(
    server: StorageServer, fetch: Callable[[], Downloaded], target: Path
) -> None:
    target.write_bytes(b"old")
    for number in range(20):
        server.script("GET", "/k", Dialogue.serve, changes_to(Stored(OTHER, f'"{number}"')))
    with pytest.raises(TransferError, match="changed"):
        fetch()
    assert target.read_bytes() == b"old"


def test_a_store_without_ranges_gives_the_whole(
    server: StorageServer, presign: Presign, fetch: Callable[[], Downloaded]
) -> None:
    server.objects["/k"] = Stored(CONTENT, '"one"', accepts_ranges=False)
    done = fetch()
    assert (done.size, done.etag) == (len(CONTENT), '"one"')
    assert done.path.read_bytes() == CONTENT


def test_a_whole_object_that_breaks_off_is_begun_again_and_not_appended(
    server: StorageServer, presign: Presign, fetch: Callable[[], Downloaded]
) -> None:
    def breaks_off(dialogue: Dialogue) -> None:
        dialogue.head(200, {"Content-Length": len(CONTENT)})
        dialogue.send(CONTENT[:1000])
        dialogue.close()

    server.script("GET", "/k", breaks_off, breaks_off, breaks_off)
    server.objects["/k"] = Stored(CONTENT, '"one"', accepts_ranges=False)
    assert fetch().path.read_bytes() == CONTENT


def test_a_body_whose_end_cannot_be_told_is_not_taken(
    server: StorageServer, presign: Presign, options: EngineOptions, target: Path
) -> None:
    def endless(dialogue: Dialogue) -> None:
        dialogue.head(200, {"Connection": "close"})
        dialogue.send(CONTENT[:1000])
        dialogue.close()

    server.script("GET", "/k", *[endless] * 99)
    engine = Engine(replace(options, attempts=2))
    with pytest.raises(TransferError, match="where the object ends"):
        download_file(engine, presign, target)
    engine.close()


@pytest.mark.parametrize("code", ["NoSuchKey", "InternalError"])
def test_an_error_document_in_a_200_is_an_error_and_no_object(
    server: StorageServer, options: EngineOptions, presign: Presign, target: Path, code: str
) -> None:
    target.write_bytes(b"old")
    server.script("GET", "", *[refuses(200, code)] * 99)
    engine = Engine(replace(options, attempts=2))
    with pytest.raises(StorageError, match=rf"/k: 200 {code} \(request id R-17\)"):
        download_file(engine, presign, target)
    engine.close()
    assert target.read_bytes() == b"old"


def test_an_object_in_xml_is_no_error(
    server: StorageServer, fetch: Callable[[], Downloaded]
) -> None:
    document = b"<Errors/>"
    whole = answers(200, {"Content-Type": "application/xml"}, document)
    server.script("GET", "", whole, whole)
    done = fetch()
    assert (done.path.read_bytes(), done.size) == (document, len(document))


def test_the_whole_for_a_later_range_is_not_written_there(
    server: StorageServer, fetch: Callable[[], Downloaded]
) -> None:
    server.script("GET", "/k", Dialogue.serve, answers(200, {"ETag": '"one"'}, CONTENT))
    assert fetch().path.read_bytes() == CONTENT


@pytest.mark.parametrize("after", [0, 1, 3])
def test_an_expired_url_is_replaced(
    server: StorageServer, presign: Presign, fetch: Callable[[], Downloaded], after: int
) -> None:
    expired = refuses(403, "AccessDenied", "Request has expired")
    server.script("GET", "call=1&", *[Dialogue.serve] * after, *[expired] * 99)
    assert fetch().path.read_bytes() == CONTENT
    assert presign.calls == 2


def test_a_403_that_stays_names_what_the_store_said(
    server: StorageServer, presign: Presign, fetch: Callable[[], Downloaded]
) -> None:
    server.script("GET", "", *[refuses(403, "AccessDenied", "no")] * 99)
    with pytest.raises(StorageError, match=r"/k: 403 AccessDenied \(request id R-17\)") as caught:
        fetch()
    assert presign.calls == 2
    assert "SECRET" not in str(caught.value)


def test_a_missing_object_is_final(
    server: StorageServer, fetch: Callable[[], Downloaded], target: Path
) -> None:
    target.write_bytes(b"old")
    server.script("GET", "", refuses(404, "NoSuchKey"))
    with pytest.raises(StorageError, match="404 NoSuchKey"):
        fetch()
    assert target.read_bytes() == b"old"
    assert len(server.requests) == 1


def test_stored_gzip_is_delivered_undecoded(
    server: StorageServer, presign: Presign, fetch: Callable[[], Downloaded]
) -> None:
    server.objects["/k"] = Stored(CONTENT, '"one"', {"Content-Encoding": "gzip"})
    assert fetch().path.read_bytes() == CONTENT


def test_the_file_gets_the_permissions_of_any_new_file(
    fetch: Callable[[], Downloaded], tmp_path: Path
) -> None:
    (tmp_path / "plain").touch()
    assert fetch().path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_target_that_cannot_be_written_is_told_before_anything_is_fetched(
    engine: Engine, server: StorageServer, presign: Presign, tmp_path: Path
) -> None:
    for target, why in [
        (tmp_path, "is a folder"),
        (tmp_path / "missing" / "x", "No such file"),
        (Path("/proc/x"), "cannot write /proc/x"),
    ]:
        with pytest.raises(LocalFileError, match=re.escape(why)):
            download_file(engine, presign, target)
    assert not server.requests


SMALL_DISK = """
import resource, sys
from pathlib import Path
from plugin_framework.errors import LocalFileError
from plugin_framework.transfer.download import download_file
from plugin_framework.transfer.engine import Engine, EngineOptions

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
engine = Engine(EngineOptions(allow_private=True))
try:
    download_file(engine, lambda: sys.argv[1], Path(sys.argv[2]), chunk=100_000)
except LocalFileError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [50_000, 200_000])
def test_a_disk_without_room_is_a_clear_error(
    server: StorageServer, presign: Presign, target: Path, limit: int
) -> None:
    target.write_bytes(b"old")
    argv = [sys.executable, "-c", SMALL_DISK, presign(), str(target), str(limit)]
    output = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert output.stdout == f"cannot write {target}: File too large\n"
    assert target.read_bytes() == b"old"
    assert len(server.requests) == 1


def test_two_downloads_do_not_write_one_file(
    engine: Engine, server: StorageServer, presign: Presign, target: Path
) -> None:
    def check() -> None:
        with pytest.raises(LocalFileError, match="another download"):
            download_file(engine, presign, target, chunk=CHUNK)

    download_file(engine, presign, target, chunk=CHUNK, check=check)
    assert target.read_bytes() == CONTENT


MEMORY = """
import sys, threading
from pathlib import Path
from plugin_framework.transfer.download import download_file
from plugin_framework.transfer.engine import Engine, EngineOptions
from plugin_framework.transfer.upload import UploadSlots, upload_file

class Api:
    def init(self, file_name, size, chunk_size, resume):
        return UploadSlots("u", [f"{url}/p{i}" for i in range(-(-size // chunk_size))])
    def keep(self, upload_id, index, part):
        pass
    def complete(self, upload_id, parts):
        pass

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024

url, folder = sys.argv[1], Path(sys.argv[2])
engine = Engine(EngineOptions(allow_private=True))
idle = peak()
source = folder / "source"
with source.open("wb") as file:
    file.truncate(512 * 1024 * 1024)
upload_file(engine, source, name="f", api=Api())
source.unlink()
download_file(engine, lambda: f"{url}/zeros", folder / "target")
print(peak() - idle)
"""


def test_memory_does_not_grow_with_the_file(
    server: StorageServer, presign: Presign, tmp_path: Path
) -> None:
    server.objects["/zeros"] = Stored(Zeros(512 * MIB))
    server.keeps_bodies = False
    argv = [sys.executable, "-c", MEMORY, server.url, str(tmp_path)]
    output = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, timeout=100)
    assert int(output.stdout) <= 96
    assert (tmp_path / "target").stat().st_size == 512 * MIB


def test_no_range_starts_while_paused(
    server: StorageServer, presign: Presign, options: EngineOptions, target: Path
) -> None:
    paused, resumed, done = threading.Event(), threading.Event(), threading.Event()

    def check() -> None:
        if server.requests and not resumed.is_set():
            paused.set()
            assert resumed.wait(30)

    engine = Engine(replace(options, concurrency=1))

    def download() -> None:
        download_file(engine, presign, target, chunk=CHUNK, check=check)
        done.set()

    thread = threading.Thread(target=download)
    thread.start()
    assert paused.wait(10)
    assert not done.wait(0.3)
    assert len(server.requests) == 1
    resumed.set()
    thread.join(20)
    engine.close()
    assert target.read_bytes() == CONTENT
