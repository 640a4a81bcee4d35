"""Many files of one subtask: side by side over kept connections, and ended by the first error."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

import pytest

from plugin_framework.errors import RejectedError, StorageError, TaskCancelled
from plugin_framework.journal.journal import Journal
from plugin_framework.journal.uploads import Output
from plugin_framework.lifecycle.clock import REAL, Clock
from plugin_framework.lifecycle.uploading import Uploads
from plugin_framework.protocol.client import DatahubClient
from plugin_framework.settings import TransferSettings
from plugin_framework.transfer.engine import Engine, EngineOptions
from tests.scripted_server import Exchange, ScriptedServer, envelope, ok
from tests.transfer.storage_server import Dialogue, StorageServer, refuses, stalls

FILES = 48
WIDTH = 4
INIT, COMPLETE = "/api/task/upload/init", "/api/task/upload/complete"


class Owner:
    """A run that goes on until it is stopped."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.patience = 10.0
        self.clock: Clock = REAL

    def check(self) -> None:
        if self.stopped.is_set():
            raise TaskCancelled


class Meeting:
    """Lets the first ``count`` who come wait for each other: they must be there at once."""

    def __init__(self, count: int) -> None:
        self._barrier = threading.Barrier(count)
        self._left = count
        self._lock = threading.Lock()

    def come(self) -> None:
        with self._lock:
            self._left -= 1
            waits = self._left >= 0
        if waits:
            self._barrier.wait(20)


class Datahub:
    """Takes any number of files into ``storage``; ``refused`` is a name that it does not take.

    Files of the names in ``held`` begin when ``go`` is set.
    """

    def __init__(self, storage: StorageServer) -> None:
        self.storage = storage
        self.inits = Meeting(2 * WIDTH)
        self.refused = ""
        self.held: frozenset[str] = frozenset()
        self.go = threading.Event()
        self.server = ScriptedServer(then=self._answer)

    def _answer(self, exchange: Exchange) -> bool:
        request = exchange.request
        if request.path == COMPLETE:
            return ok()(exchange)
        self.inits.come()
        name = request.json["file_name"]
        if name == self.refused:
            return envelope(1, "no such thing")(exchange)
        if name in self.held:
            self.go.wait(20)
        url = f"{self.storage.url}/{name}?X-Amz-Signature=SECRET"
        return ok({"upload_id": name, "part_upload_urls": [url]})(exchange)

    def count(self, path: str) -> int:
        return len([each for each in self.server.requests if each.path == path])


@pytest.fixture
def storage() -> Iterator[StorageServer]:
    with StorageServer() as server:
        yield server


@pytest.fixture
def datahub(storage: StorageServer) -> Iterator[Datahub]:
    hub = Datahub(storage)
    with hub.server:
        yield hub


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "output"
    folder.mkdir()
    for number in range(FILES):
        (folder / f"file-{number:02}").write_bytes(bytes([number]) * 1000 * min(number, 1))
    return folder


@pytest.fixture
def uploads(datahub: Datahub, owner: Owner, tmp_path: Path) -> Iterator[Uploads]:
    options = EngineOptions(allow_private=True, concurrency=WIDTH, backoff=0.001)
    with (
        closing(Journal(tmp_path / "journal.sqlite3")) as journal,
        closing(DatahubClient(datahub.server.url)) as client,
        closing(Engine(options)) as engine,
    ):
        journal.start_attempt("s", task_id=None, plugin="p", config={})
        yield Uploads(
            "s",
            owner=owner,
            client=client,
            log=journal.uploads,
            engine=engine,
            settings=TransferSettings(),
            transferred=lambda *_: None,
        )


def test_files_overlap_over_kept_connections(
    uploads: Uploads, datahub: Datahub, storage: StorageServer, folder: Path
) -> None:
    meeting, shares = Meeting(WIDTH), list[float]()

    def together(dialogue: Dialogue) -> None:
        meeting.come()
        dialogue.serve()

    storage.script("PUT", "", *[together] * FILES)
    uploads.rest(folder, shares.append, check=Owner().check)
    assert datahub.count(INIT) == datahub.count(COMPLETE) == len(storage.requests) == FILES
    assert len({request.peer for request in storage.requests}) <= WIDTH
    assert datahub.server.connections <= 4 * WIDTH
    assert {file.name for file in uploads.stored()} == {path.name for path in folder.iterdir()}
    for path in folder.iterdir():
        content = storage.objects[f"/{path.name}"].content
        assert content[0 : len(content)] == path.read_bytes()
    assert shares[-1] == 1.0
    uploads.rest(folder, shares.append, check=Owner().check)
    assert datahub.count(INIT) == FILES, "what is stored is not stored again"


def test_the_first_error_ends_it_and_names_its_file(
    uploads: Uploads, datahub: Datahub, storage: StorageServer, folder: Path, owner: Owner
) -> None:
    datahub.held = frozenset(f"file-{number:02}" for number in range(10, FILES))

    def refused(dialogue: Dialogue) -> None:
        refuses(403, "SignatureDoesNotMatch")(dialogue)
        datahub.go.set()

    storage.script("PUT", "/file-09", refused)
    with pytest.raises(StorageError, match=r"file-09.*SignatureDoesNotMatch") as caught:
        uploads.rest(folder, lambda _share: None, check=owner.check)
    assert "SECRET" not in str(caught.value)
    assert datahub.count(INIT) <= 10 + 4 * WIDTH


def test_a_file_that_datahub_refuses_is_named(
    uploads: Uploads, datahub: Datahub, folder: Path, owner: Owner
) -> None:
    datahub.refused = "file-11"
    with pytest.raises(RejectedError, match=r"^file-11: ") as caught:
        uploads.rest(folder, lambda _share: None, check=owner.check)
    assert caught.value.api_code == 1


def test_a_cancel_ends_all_that_is_under_way(
    uploads: Uploads, datahub: Datahub, storage: StorageServer, folder: Path, owner: Owner
) -> None:
    storage.script("PUT", "", *[stalls] * FILES)

    def cancel() -> None:
        storage.stalled.wait(20)
        owner.stopped.set()

    threading.Thread(target=cancel).start()
    with pytest.raises(TaskCancelled):
        uploads.rest(folder, lambda _share: None, check=owner.check)
    assert datahub.count(COMPLETE) == 0
    assert datahub.count(INIT) <= 4 * WIDTH


def test_of_one_name_there_is_one_upload_at_a_time(
    uploads: Uploads, datahub: Datahub, storage: StorageServer, tmp_path: Path
) -> None:
    datahub.inits = Meeting(1)
    reached, go = threading.Event(), threading.Event()

    def held(dialogue: Dialogue) -> None:
        reached.set()
        go.wait(20)
        dialogue.serve()

    storage.script("PUT", "/same", held)
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"first!")
    second.write_bytes(b"second")  # as large: it could pass for the other
    with ThreadPoolExecutor() as pool:
        one = pool.submit(uploads.one, first, "same")
        reached.wait(20)
        other = pool.submit(uploads.one, second, "same")
        assert not wait([other], 0.5).done
        assert datahub.count(INIT) == len(storage.requests) == 1
        go.set()
        assert one.result(20).sha256 != other.result(20).sha256
    content = storage.objects["/same"].content
    assert content[0 : len(content)] == b"second"
    assert [file.sha256 for file in uploads.stored()] == [other.result().sha256]


def test_an_upload_that_waits_for_its_name_can_be_ended(
    uploads: Uploads, datahub: Datahub, storage: StorageServer, owner: Owner, tmp_path: Path
) -> None:
    datahub.inits = Meeting(1)
    storage.script("PUT", "/same", stalls)
    (tmp_path / "file").write_bytes(b"file")
    with ThreadPoolExecutor() as pool:
        both = [pool.submit(uploads.one, tmp_path / "file", "same") for _ in range(2)]
        storage.stalled.wait(20)
        owner.stopped.set()
        for each in both:
            with pytest.raises(TaskCancelled):
                each.result(20)
    assert datahub.count(INIT) == 1


def test_an_upload_in_anothers_place_is_not_complete_with_it(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "journal.sqlite3")) as journal:
        log = journal.uploads
        journal.start_attempt("s", task_id=None, plugin="p", config={})
        for upload_id in ("one", "two"):
            log.begin("s", "f", upload_id=upload_id, size=1, chunk=0, urls=["u"])
        log.complete("s", Output("f", 1, None), "one", durable=True)
        kept = log.find("s", "f")
        assert kept is not None
        assert (kept.upload_id, kept.completed, kept.urls) == ("two", False, ["u"])
        assert log.outputs("s") == [Output("f", 1, None)]


def test_a_complete_upload_without_its_parts_is_not_believed(
    uploads: Uploads, datahub: Datahub, tmp_path: Path
) -> None:
    datahub.inits = Meeting(1)
    (tmp_path / "file").write_bytes(b"file")
    with closing(Journal(tmp_path / "journal.sqlite3")) as journal:
        journal.uploads.begin("s", "f", upload_id="f", size=4, chunk=0, urls=["u"])
        journal.uploads.complete("s", Output("f", 4, None), "f", durable=True)
    uploads.one(tmp_path / "file", "f")
    assert datahub.count(INIT) == datahub.count(COMPLETE) == 1
    uploads.one(tmp_path / "file", "f")
    assert datahub.count(INIT) == 1, "now it has them"
