"""Round trips of files under seeded faults: right bytes, and nothing sent twice without need.

``SEED=n`` replays one schedule, ``SCHEDULES=n`` runs that many.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from plugin_framework.emulator import Store
from plugin_framework.emulator.app import ACCESS_KEY
from plugin_framework.emulator.dialects import Bucket, Dialect, dialect_named
from plugin_framework.protocol.models import CompletedPart, UploadCompletion, UploadRequest
from plugin_framework.transfer import plan
from plugin_framework.transfer.download import download_file
from plugin_framework.transfer.engine import Engine, EngineOptions
from plugin_framework.transfer.upload import StoredPart, UploadSlots, upload_file
from tests.dialects.faulty_storage import Course, FaultyStorage
from tests.dialects.places import Place
from tests.dialects.schedules import CONFUSING, EXPIRED, GET_FAULTS, PART, PUT_FAULTS, Schedule

SEEDS = (
    [int(os.environ["SEED"])]
    if "SEED" in os.environ
    else range(int(os.environ.get("SCHEDULES", "60")))
)


def signed(dialect: Dialect, method: str, key: str, **params: str) -> str:
    return dialect.sign(method, key, params, 3600, time.time())


@dataclass
class DatahubUploads:
    """Uploads as Datahub arranges them, but of small parts; a fresh init renews the URLs."""

    store: Store
    dialect: Dialect
    subtask_id: str
    key: str = ""
    upload_id: str = ""

    def init(
        self, file_name: str, size: int, chunk_size: int | None, *, resume: bool
    ) -> UploadSlots:
        if not self.upload_id:
            fields: dict[str, Any] = {"file_name": file_name, "file_size": size}
            request = UploadRequest.model_construct(
                subtask_id=self.subtask_id, chunk_size=chunk_size, **fields
            )
            upload = self.store.uploads.begin(request)
            self.key, self.upload_id = upload.key, upload.upload_id
        if chunk_size is None:
            return UploadSlots(self.upload_id, [signed(self.dialect, "PUT", self.key)])
        numbers = range(1, -(-size // chunk_size) + 1)
        params = [{"partNumber": str(each), "uploadId": self.upload_id} for each in numbers]
        return UploadSlots(
            self.upload_id, [signed(self.dialect, "PUT", self.key, **each) for each in params]
        )

    def keep(self, upload_id: str, index: int, part: StoredPart) -> None:
        pass

    def complete(self, upload_id: str, parts: Sequence[tuple[int, str]]) -> None:
        completion = UploadCompletion(
            subtask_id=self.subtask_id,
            upload_id=upload_id,
            parts=tuple(CompletedPart(index=index, etag=etag) for index, etag in parts),
        )
        self.store.uploads.complete(completion, self.dialect.etag)


@pytest.fixture(scope="module")
def storage() -> Iterator[FaultyStorage]:
    with FaultyStorage() as running:
        yield running


@pytest.fixture
def place(seed: int, places: dict[str, Place]) -> Place:
    return places[Schedule(seed).dialect.partition("-")[0]]


@pytest.fixture
def course(seed: int, storage: FaultyStorage, place: Place) -> Course:
    """The schedule of ``seed``, about to happen."""
    schedule, bucket = Schedule(seed), Bucket(f"{storage.url}/storage/datahub")
    dialect = dialect_named(schedule.dialect, bucket, ACCESS_KEY, place.store.storage_secret)
    storage.upstream, storage.course = place.emulator.url, Course(schedule, dialect)
    return storage.course


@pytest.fixture
def engine(course: Course) -> Iterator[Engine]:
    options = EngineOptions(allow_private=True, backoff=0.001, concurrency=course.schedule.width)
    running = Engine(options)
    yield running
    running.close()


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "PART_MINIMUM", PART)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_round_trip(
    seed: int, course: Course, place: Place, engine: Engine, tmp_path: Path
) -> None:
    schedule, store = course.schedule, place.store
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(schedule.content)
    subtask_id = store.create_subtask(f"seed-{seed}").subtask_id
    api = DatahubUploads(store, course.dialect, subtask_id)
    upload_file(engine, source, name="file", api=api, chunk=PART)
    (output,) = store.outputs(subtask_id)
    assert output.path.read_bytes() == schedule.content
    found = download_file(
        engine, lambda: signed(course.dialect, "GET", api.key), target, chunk=PART
    )
    assert (target.read_bytes() == schedule.content, found.size) == (True, schedule.size)
    assert_nothing_was_sent_in_vain(course)


def assert_nothing_was_sent_in_vain(course: Course) -> None:
    """Sent again is at most what failed, and what was under way when all had to stop."""
    schedule = course.schedule
    for method in ("PUT", "GET"):
        faults = [each.fault for each in course.failed(method)]
        again = course.moved(method) - schedule.size
        stops = sum(fault == EXPIRED or fault in CONFUSING for fault in faults)
        allowed = sum(each.moved for each in course.failed(method))
        allowed += stops * schedule.width * PART
        if method == "GET":  # an object that seems to be another one is fetched anew
            allowed += schedule.size * sum(fault in CONFUSING for fault in faults)
        assert again <= allowed, (schedule.seed, method, faults)
    expiries = sum(each.fault == EXPIRED for each in course.failed("PUT"))
    good = Counter(each.piece for each in course.attempts if each.is_good_put)
    assert max(good.values()) <= 1 + expiries, schedule.seed


def test_all_faults_are_in_the_schedules() -> None:
    found = {
        schedule.fault(method, piece, attempt)
        for schedule in map(Schedule, range(60))
        for method in ("PUT", "GET")
        for piece in range(-1, schedule.pieces)
        for attempt in (1, 2)
    }
    assert found == {None, EXPIRED, *PUT_FAULTS, *GET_FAULTS, *CONFUSING}
    assert {Schedule(seed).width for seed in range(60)} == {1, 2, 3, 4}
