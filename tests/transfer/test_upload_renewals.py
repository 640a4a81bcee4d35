"""URLs that expire before an upload is done, and answers that say what parts there are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from plugin_framework.errors import StorageError, TransferError
from plugin_framework.transfer.engine import Engine, EngineOptions
from plugin_framework.transfer.plan import MIB
from plugin_framework.transfer.upload import Growing, UploadSlots, upload_file
from tests.transfer.storage_server import Dialogue, Fault, StorageServer, refuses
from tests.transfer.test_upload import CHUNK, Api

PARTS = 7
EXPIRED = refuses(403, "AccessDenied", "Request has expired")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"".join(bytes([number]) * CHUNK for number in range(PARTS)))
    return path


@pytest.fixture
def one_by_one(options: EngineOptions) -> Iterator[Engine]:
    engine = Engine(replace(options, concurrency=1))
    yield engine
    engine.close()


def lasts(count: int) -> list[Fault]:
    """So many parts are taken, then a URL has expired."""
    return [*[Dialogue.serve] * count, EXPIRED]


def test_renewals_of_the_same_upload_go_on_while_parts_are_stored(
    one_by_one: Engine, server: StorageServer, source: Path
) -> None:
    api = Api(server)
    api.same_upload = True
    server.script("PUT", "", *lasts(1), *lasts(1), *lasts(1), *lasts(2), *lasts(1))
    upload_file(one_by_one, source, name="f", api=api, chunk=CHUNK)
    assert len(api.inits) == 6
    assert len(server.requests) == PARTS + 5
    assert api.content() == source.read_bytes()


def test_renewals_to_new_uploads_go_on_while_each_gets_further(
    one_by_one: Engine, server: StorageServer, source: Path
) -> None:
    api = Api(server)
    server.script("PUT", "", *lasts(2), *lasts(3), *lasts(3), *lasts(4))
    upload_file(one_by_one, source, name="f", api=api, chunk=CHUNK)
    assert [upload_id for upload_id, _ in api.completed] == ["u5"]
    assert api.content() == source.read_bytes()


def test_urls_that_live_too_short_end_it_and_say_what_to_do(
    one_by_one: Engine, server: StorageServer, source: Path
) -> None:
    api = Api(server)
    server.script("PUT", "", *[*lasts(3)] * 99)
    with pytest.raises(StorageError) as caught:
        upload_file(one_by_one, source, name="f.bin", api=api, chunk=CHUNK)
    said = str(caught.value)
    assert "the URLs for f.bin expire before it is stored" in said
    assert "only 43% of it got there" in said
    assert "DATAHUB_TRANSFER__CONCURRENCY" in said
    assert "403 AccessDenied (request id R-17)" in said
    assert "SECRET" not in said
    assert (caught.value.store_code, caught.value.request_id) == ("AccessDenied", "R-17")
    assert len(api.inits) == 3
    assert not api.completed


class Chooses(Api):
    """A Datahub that decides on the size of parts itself."""

    part_size = 6 * MIB
    fewer = 0

    def init(
        self, file_name: str, size: int, chunk_size: int | None, *, resume: bool
    ) -> UploadSlots:
        slots = super().init(file_name, size, self.part_size, resume=resume)
        urls = slots.urls[: len(slots.urls) - self.fewer]
        return replace(slots, urls=urls, part_size=self.part_size)


def test_the_part_size_that_datahub_names_is_obeyed(
    engine: Engine, server: StorageServer, source: Path
) -> None:
    api = Chooses(server)
    upload_file(engine, source, name="f", api=api, chunk=CHUNK)
    sizes = [len(part.content) for part in server.objects.values()]
    assert sorted(sizes) == [5 * MIB] + [6 * MIB] * 5
    assert api.content() == source.read_bytes()


@pytest.mark.parametrize("part_size", [6 * MIB, -1])
def test_urls_that_do_not_fit_the_parts_are_refused(
    engine: Engine, server: StorageServer, source: Path, part_size: int
) -> None:
    class Wrong(Chooses):
        fewer = 1

        def init(
            self, file_name: str, size: int, chunk_size: int | None, *, resume: bool
        ) -> UploadSlots:
            slots = super().init(file_name, size, chunk_size, resume=resume)
            return replace(slots, part_size=part_size)

    with pytest.raises(TransferError, match=r"^f: (6 parts, but Datahub gave 5 URLs|.*-1 bytes)"):
        upload_file(engine, source, name="f", api=Wrong(server), chunk=CHUNK)
    assert not server.requests


class ChangesItsMind(Api):
    """A Datahub that cuts the same upload in other parts at each renewal."""

    part_sizes = (10 * MIB, 5 * MIB)

    def init(
        self, file_name: str, size: int, chunk_size: int | None, *, resume: bool
    ) -> UploadSlots:
        self.same_upload = True
        kept = self.kept
        part_size = self.part_sizes[min(len(self.inits), len(self.part_sizes) - 1)]
        slots = super().init(file_name, size, part_size, resume=resume)
        self.kept = {**kept, **self.kept}
        return replace(slots, part_size=part_size)


@pytest.mark.parametrize("sizes", [(10 * MIB, 5 * MIB), (5 * MIB, 10 * MIB)])
def test_what_was_stored_in_parts_of_another_size_is_sent_again(
    one_by_one: Engine, server: StorageServer, source: Path, sizes: tuple[int, int]
) -> None:
    api = ChangesItsMind(server)
    api.part_sizes = sizes
    server.script("PUT", "", *lasts(2))
    upload_file(one_by_one, source, name="f", api=api, chunk=CHUNK)
    assert api.content() == source.read_bytes()


def test_a_resumed_upload_leaves_out_what_was_stored_in_smaller_parts(
    one_by_one: Engine, server: StorageServer, source: Path
) -> None:
    api = ChangesItsMind(server)
    api.part_sizes = (5 * MIB, 10 * MIB)
    server.script("PUT", "", *lasts(PARTS - 1), refuses(400, "Broken"))
    with pytest.raises(StorageError):
        upload_file(one_by_one, source, name="f", api=api, chunk=CHUNK)
    for index in range(1, 5):  # those that the new cut has too
        del api.kept[index]
    upload_file(one_by_one, source, name="f", api=api, chunk=CHUNK)
    assert api.content() == source.read_bytes()


def test_a_growing_file_keeps_what_an_earlier_attempt_stored(
    one_by_one: Engine, server: StorageServer, source: Path
) -> None:
    api = Api(server)
    api.same_upload = True
    server.script("PUT", "/u1/p3", *[refuses(403, "SignatureDoesNotMatch")])
    whole = Event()
    growing = Growing(source.stat().st_size, whole)
    whole.set()
    with pytest.raises(StorageError):
        upload_file(one_by_one, source, name="f", api=api, chunk=CHUNK, growing=growing)
    assert set(api.kept) == {1, 2}
    kept = dict(api.kept)
    del kept[1]  # so that a URL that has expired is asked for before a part that is stored
    api.kept = kept
    before = len(server.requests)
    server.script("PUT", "/u1/p1", EXPIRED)
    upload_file(one_by_one, source, name="f", api=api, chunk=CHUNK, growing=growing)
    assert [request.target.split("?")[0] for request in server.requests[before:]] == [
        f"/u1/p{index}" for index in (1, 1, 3, 4, 5, 6, 7)
    ]
    assert api.content() == source.read_bytes()
