from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from plugin_framework.errors import (
    LocalFileError,
    RejectedError,
    SourceChangedError,
    StorageError,
    StorageUnreachableError,
    TaskCancelled,
    TransferError,
)
from plugin_framework.transfer.engine import Engine, EngineOptions
from plugin_framework.transfer.plan import MIB
from plugin_framework.transfer.upload import StoredPart, Uploaded, UploadSlots, upload_file
from tests.transfer.storage_server import (
    Dialogue,
    Fault,
    StorageServer,
    answers,
    redirects,
    refuses,
    resets_in_body,
    stalls,
)

CHUNK = 5 * MIB
SIZE = 12 * MIB + 7


class Api:
    """Datahub's side of an upload, in memory."""

    def __init__(self, server: StorageServer) -> None:
        self.server = server
        self.inits: list[tuple[str, int, int | None]] = []
        self.completed: list[tuple[str, list[tuple[int, str]]]] = []
        self.same_upload = False
        self.begun: UploadSlots | None = None
        self.kept: dict[int, StoredPart] = {}
        self.is_complete = False
        self.rejects = 0

    def init(
        self, file_name: str, size: int, chunk_size: int | None, *, resume: bool
    ) -> UploadSlots:
        if resume and self.begun is not None:
            return replace(self.begun, stored=dict(self.kept), completed=self.is_complete)
        self.inits.append((file_name, size, chunk_size))
        count = max(1, -(-size // (chunk_size or max(size, 1))))
        number = 1 if self.same_upload else len(self.inits)
        query = f"round={len(self.inits)}&X-Amz-Signature=SECRET"
        urls = [f"{self.server.url}/u{number}/p{i}?{query}" for i in range(1, count + 1)]
        self.begun, self.kept = UploadSlots(f"u{number}", urls), {}
        return self.begun

    def keep(self, upload_id: str, index: int, part: StoredPart) -> None:
        assert self.begun
        assert upload_id == self.begun.upload_id
        self.kept[index] = part

    def complete(self, upload_id: str, parts: Sequence[tuple[int, str]]) -> None:
        if self.rejects:
            self.rejects -= 1
            raise RejectedError("no such upload", 1)
        self.completed.append((upload_id, list(parts)))

    def content(self) -> bytes:
        """What the store has put together."""
        ((upload_id, parts),) = self.completed
        stored = [self.server.objects[f"/{upload_id}/p{index}"] for index, _ in parts]
        assert [part.etag for part in stored] == [etag for _, etag in parts]
        return b"".join(part.content[0 : len(part.content)] for part in stored)


@pytest.fixture
def api(server: StorageServer) -> Api:
    return Api(server)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(os.urandom(MIB) * 12 + b"the end")
    return path


@pytest.fixture
def send(engine: Engine, api: Api, source: Path) -> Callable[[], Uploaded]:
    return lambda: upload_file(engine, source, name="out.bin", api=api, chunk=CHUNK)


def test_a_file_goes_in_parts_and_comes_out_whole(
    engine: Engine, server: StorageServer, api: Api, source: Path
) -> None:
    seen: list[tuple[int, int]] = []
    uploaded = upload_file(
        engine,
        source,
        name="out.bin",
        api=api,
        chunk=CHUNK,
        progress=lambda sent, total: seen.append((sent, total)),
    )
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert uploaded == Uploaded("out.bin", SIZE, digest)
    assert api.inits == [("out.bin", SIZE, CHUNK)]
    assert api.content() == source.read_bytes()
    assert seen[-1] == (SIZE, SIZE)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("size", "puts"), [(0, 1), (1, 1), (CHUNK - 1, 1), (CHUNK, 1), (CHUNK + 1, 2)]
)
def test_edges_of_size(
    engine: Engine, server: StorageServer, api: Api, tmp_path: Path, size: int, puts: int
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * size)
    uploaded = upload_file(engine, source, name="f", api=api, chunk=CHUNK, digest=False)
    assert uploaded == Uploaded("f", size, None)
    assert api.content() == source.read_bytes()
    assert len(server.requests) == puts
    assert api.inits == [("f", size, CHUNK if puts > 1 else None)]


@pytest.mark.parametrize(
    "fault",
    [
        resets_in_body,
        refuses(503, "SlowDown"),
        refuses(429, "TooManyRequests"),
        refuses(500, "InternalError"),
        refuses(408, "Timeout"),
        refuses(400, "RequestTimeout", "Your socket timed out"),
        refuses(200, "InternalError"),
        answers(200),
        answers(200, {"ETag": ""}),
    ],
    ids=["reset", "503", "429", "500", "408", "400-timeout", "error-in-200", "no-etag", "empty"],
)
def test_a_part_that_failed_is_sent_again_alone(
    server: StorageServer, api: Api, source: Path, send: Callable[[], Uploaded], fault: Fault
) -> None:
    server.script("PUT", "/p2", fault, fault)
    send()
    assert api.content() == source.read_bytes()
    keys = sorted(request.key for request in server.requests)
    assert keys == ["/u1/p1", "/u1/p2", "/u1/p2", "/u1/p2", "/u1/p3"]
    assert len(api.inits) == 1


def test_attempts_are_bounded(
    server: StorageServer, api: Api, source: Path, options: EngineOptions
) -> None:
    server.script("PUT", "/p1", *[refuses(503, "SlowDown")] * 99)
    engine = Engine(replace(options, attempts=3))
    with pytest.raises(StorageError, match="503 SlowDown") as caught:
        upload_file(engine, source, name="f", api=api)
    engine.close()
    assert len([request for request in server.requests if "/p1" in request.key]) == 3
    assert "SECRET" not in str(caught.value)
    assert not api.completed


def test_a_store_that_is_not_there_is_given_up(
    server: StorageServer, api: Api, source: Path, send: Callable[[], Uploaded]
) -> None:
    server.url = "http://127.0.0.1:1"
    with pytest.raises(StorageUnreachableError) as caught:
        send()
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "fault",
    [
        refuses(403, "AccessDenied", "Request has expired"),
        answers(403),
        refuses(400, "InvalidRequest", "presigned URL has expired"),
    ],
    ids=["expired", "mute-403", "400-expired"],
)
def test_expired_urls_are_replaced_once_and_all_parts_sent_again(
    server: StorageServer, api: Api, source: Path, send: Callable[[], Uploaded], fault: Fault
) -> None:
    server.script("PUT", "/u1/p2", fault)
    send()
    assert len(api.inits) == 2
    assert api.completed[0][0] == "u2"
    assert api.content() == source.read_bytes()


def test_under_the_same_upload_id_stored_parts_are_not_sent_again(
    options: EngineOptions, server: StorageServer, api: Api, source: Path
) -> None:
    api.same_upload = True
    server.script("PUT", "/u1/p3", refuses(403, "AccessDenied", "Request has expired"))
    engine = Engine(replace(options, concurrency=1))
    upload_file(engine, source, name="f", api=api, chunk=CHUNK)
    engine.close()
    assert [request.key for request in server.requests] == ["/u1/p1", "/u1/p2", "/u1/p3", "/u1/p3"]
    assert "round=2" in server.requests[-1].target
    assert api.content() == source.read_bytes()


def test_a_403_that_stays_names_what_the_store_said(
    server: StorageServer, api: Api, send: Callable[[], Uploaded]
) -> None:
    server.script("PUT", "", *[refuses(403, "AccessDenied", "SECRET")] * 99)
    with pytest.raises(StorageError, match=r"403 AccessDenied \(request id R-17\)") as caught:
        send()
    assert (caught.value.store_code, caught.value.request_id) == ("AccessDenied", "R-17")
    assert len(api.inits) == 2
    assert "SECRET" not in str(caught.value)


def test_a_wrong_signature_is_final(
    server: StorageServer, api: Api, send: Callable[[], Uploaded]
) -> None:
    server.script("PUT", "", *[refuses(403, "SignatureDoesNotMatch")] * 99)
    with pytest.raises(StorageError, match="SignatureDoesNotMatch"):
        send()
    assert len(api.inits) == 1


@pytest.mark.parametrize("etag", ['"ABC-7"', 'W/"x"', "unquoted", '"d41d8cd98f00b204"'])
def test_etags_are_kept_verbatim(
    server: StorageServer, api: Api, send: Callable[[], Uploaded], etag: str
) -> None:
    server.script("PUT", "/p2", answers(200, {"ETag": etag}))
    send()
    assert dict(api.completed[0][1])[2] == etag


@pytest.fixture
def interrupted(
    server: StorageServer, api: Api, options: EngineOptions, source: Path
) -> StorageServer:
    """A store that has taken part 1 of 3, from an attempt that ended there."""
    server.script("PUT", "/u1/p2", refuses(403, "SignatureDoesNotMatch"))
    engine = Engine(replace(options, concurrency=1))
    with pytest.raises(StorageError):
        upload_file(engine, source, name="f", api=api, chunk=CHUNK)
    engine.close()
    assert list(api.kept) == [1]
    server.requests.clear()
    return server


def keys(server: StorageServer) -> list[str]:
    return sorted(request.key for request in server.requests)


def test_the_next_attempt_sends_only_what_is_missing(
    interrupted: StorageServer, api: Api, source: Path, send: Callable[[], Uploaded]
) -> None:
    send()
    assert keys(interrupted) == ["/u1/p2", "/u1/p3"]
    assert len(api.inits) == 1
    assert api.content() == source.read_bytes()


@pytest.mark.parametrize("offset", [0, CHUNK - 1])
def test_another_file_of_the_same_size_is_sent_whole(
    interrupted: StorageServer,
    api: Api,
    source: Path,
    send: Callable[[], Uploaded],
    offset: int,
) -> None:
    with source.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))
    send()
    assert keys(interrupted) == ["/u2/p1", "/u2/p2", "/u2/p3"]
    assert api.content() == source.read_bytes()


def test_what_is_complete_is_not_sent_again(
    server: StorageServer, api: Api, source: Path, send: Callable[[], Uploaded]
) -> None:
    first = send()
    server.requests.clear()
    api.is_complete = True
    assert send() == first
    assert keys(server) == []
    assert len(api.completed) == 1
    source.write_bytes(source.read_bytes()[::-1])
    send()
    assert api.completed[-1][0] == "u2"


def test_an_upload_that_datahub_has_forgotten_is_begun_anew(
    interrupted: StorageServer, api: Api, source: Path, send: Callable[[], Uploaded]
) -> None:
    api.rejects = 1
    send()
    assert keys(interrupted)[-3:] == ["/u2/p1", "/u2/p2", "/u2/p3"]
    assert api.content() == source.read_bytes()


def test_a_refused_upload_that_was_not_resumed_is_refused(
    api: Api, send: Callable[[], Uploaded]
) -> None:
    api.rejects = 1
    with pytest.raises(RejectedError):
        send()
    assert len(api.inits) == 1


def test_another_number_of_urls_is_refused(
    server: StorageServer, api: Api, source: Path, engine: Engine
) -> None:
    class Short(Api):
        def init(
            self, file_name: str, size: int, chunk_size: int | None, *, resume: bool
        ) -> UploadSlots:
            slots = super().init(file_name, size, chunk_size, resume=resume)
            return UploadSlots(slots.upload_id, slots.urls[:-1])

    with pytest.raises(TransferError, match="3 parts, but Datahub gave 2 URLs"):
        upload_file(engine, source, name="f", api=Short(server), chunk=CHUNK)
    assert not server.requests


@pytest.mark.parametrize("change", ["touched", "truncated", "grown"])
def test_a_source_that_changes_is_noticed_and_nothing_completed(
    server: StorageServer, api: Api, source: Path, send: Callable[[], Uploaded], change: str
) -> None:
    def fault(dialogue: Dialogue) -> None:
        if change == "touched":
            os.utime(source, ns=(1, 1))
        else:
            os.truncate(source, 100 if change == "truncated" else SIZE + 1)
        dialogue.serve()

    server.script("PUT", "/p1", fault)
    with pytest.raises(SourceChangedError):
        send()
    assert not api.completed


@pytest.mark.parametrize(
    ("told", "known"), [("R-18/a+b=", "R-18/a+b="), ("R?X-Amz-Signature=SECRET\x1b[31m", None)]
)
def test_a_request_id_of_a_header_is_told_if_it_is_one(
    server: StorageServer, send: Callable[[], Uploaded], told: str, known: str | None
) -> None:
    server.script("PUT", "", *[answers(404, {"x-amz-request-id": told})] * 9)
    with pytest.raises(StorageError) as caught:
        send()
    assert caught.value.request_id == known
    assert "SECRET" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_redirected_parts_are_sent_whole(
    server: StorageServer, api: Api, source: Path, send: Callable[[], Uploaded]
) -> None:
    server.script("PUT", "/u1/p2", redirects(f"{server.url}/u1/p2?again"))
    send()
    assert api.content() == source.read_bytes()


def test_slow_down_lowers_the_number_of_parts_at_once(
    server: StorageServer, options: EngineOptions, api: Api, tmp_path: Path
) -> None:
    source = tmp_path / "big"
    with source.open("wb") as file:
        file.truncate(CHUNK * 6)
    lock, now, most = threading.Lock(), [0], [0]
    together = threading.Barrier(4)

    def overloaded(dialogue: Dialogue) -> None:
        dialogue.read_body()
        together.wait(20)  # all four are under way before the first is refused
        dialogue.reply(503)

    def counted(dialogue: Dialogue) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        dialogue.read_body()
        with lock:
            now[0] -= 1
        dialogue.reply(200, {"ETag": '"e"'})

    server.script("PUT", "", *[overloaded] * 4, *[counted] * 99)
    engine = Engine(replace(options, concurrency=4, backoff=0.2))
    upload_file(engine, source, name="f", api=api, chunk=CHUNK, digest=False)
    engine.close()
    assert most == [1]
    assert [index for index, _ in api.completed[0][1]] == list(range(1, 7))


def test_a_cancel_stops_silent_parts_and_passes_through(
    server: StorageServer, api: Api, source: Path, engine: Engine
) -> None:
    server.script("PUT", "", *[stalls] * 99)

    def check() -> None:
        if server.stalled.is_set():
            raise TaskCancelled

    begun = time.monotonic()
    with pytest.raises(TaskCancelled):
        upload_file(engine, source, name="f", api=api, chunk=CHUNK, check=check)
    assert time.monotonic() - begun < 15
    assert not api.completed


def test_no_part_starts_while_paused(
    server: StorageServer, options: EngineOptions, api: Api, source: Path
) -> None:
    paused, resumed = threading.Event(), threading.Event()

    def check() -> None:
        if server.requests and not resumed.is_set():
            paused.set()
            assert resumed.wait(30)

    engine = Engine(replace(options, concurrency=1))
    done = threading.Event()

    def upload() -> None:
        upload_file(engine, source, name="f", api=api, chunk=CHUNK, check=check)
        done.set()

    thread = threading.Thread(target=upload)
    thread.start()
    assert paused.wait(10)
    assert not done.wait(0.3)
    assert len(server.requests) == 1
    resumed.set()
    thread.join(20)
    engine.close()
    assert api.content() == source.read_bytes()


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_what_is_no_file_cannot_be_sent(
    engine: Engine, api: Api, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(LocalFileError, match=f"cannot read .*{kind}"):
        upload_file(engine, path, name="f", api=api)
    assert not api.inits
