"""Uploads and downloads with real object stores: SeaweedFS, and MinIO's code in JuiceFS."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from plugin_framework.emulator.dialects import Bucket, Scheme
from plugin_framework.emulator.dialects.sigv2 import SigV2
from plugin_framework.emulator.dialects.sigv4 import SigV4
from plugin_framework.errors import StorageError
from plugin_framework.transfer.download import download_file
from plugin_framework.transfer.engine import Engine
from plugin_framework.transfer.exchange import Answer, BinaryWindow
from plugin_framework.transfer.remote_file import RemoteFile
from plugin_framework.transfer.upload import upload_file
from tests.dialects.keys import HOSTILE_KEYS
from tests.dialects.signers import Account, Signer, with_boto3, with_minio
from tests.dialects.stores import LOOPBACK, RunningStore, listening_addresses
from tests.dialects.uploading import StoreUploads

MIB = 1024 * 1024
DOTS = {key for key in HOSTILE_KEYS if {".", ".."} & set(key.split("/"))}
REFUSED = {
    "seaweedfs": DOTS | {key for key in HOSTILE_KEYS if key.startswith("long")},
    "juicefs": DOTS | {"trailing/"},
}
"""Keys that the stores do not take, however they are signed."""
EMPTIED = {"seaweedfs": {"trailing/"}, "juicefs": set[str]()}
"""Keys that stand for folders: what is put there is not kept."""

SIGNERS: dict[str, Callable[[Account], Signer]] = {
    "boto3 V4": with_boto3,
    "boto3 V2": lambda account: with_boto3(account, "s3"),
    "minio": with_minio,
}


class Gathered(bytearray):
    """A body in memory."""

    def begin(self, answer: Answer) -> bool:
        return answer.ok

    def write(self, data: memoryview) -> None:
        self.extend(data)


@pytest.fixture(params=SIGNERS)
def signer(store: RunningStore, request: pytest.FixtureRequest) -> Signer:
    return SIGNERS[request.param](store.account)


@pytest.fixture
def window(tmp_path: Path) -> Iterator[BinaryWindow]:
    path = tmp_path / "body"
    path.write_bytes(b"body")
    with path.open("rb") as file:
        yield BinaryWindow(file.fileno(), 0, 4)


def own(scheme: Callable[..., Scheme], age: int = 0) -> Callable[[Account], Signer]:
    """The local storage's own way to sign, ``age`` seconds ago, for a minute."""

    def make(account: Account) -> Signer:
        bucket = Bucket(f"{account.endpoint}/{account.bucket}")
        ours = scheme(bucket, account.access_key, account.secret)
        return lambda method, key, params: ours.sign(method, key, params, 60, time.time() - age)

    return make


def test_it_listens_on_loopback_alone(store: RunningStore) -> None:
    assert listening_addresses(store.pid) == {LOOPBACK}


@pytest.mark.parametrize("size", [0, 1, MIB + 7])
def test_a_single_upload_and_its_download(
    store: RunningStore, signer: Signer, engine: Engine, tmp_path: Path, size: int
) -> None:
    content = random.Random(size).randbytes(size)
    (tmp_path / "source").write_bytes(content)
    key = f"single/{size}"
    api = StoreUploads(store, key, [signer])
    upload_file(engine, tmp_path / "source", name="file", api=api)
    target = tmp_path / "target"
    found = download_file(engine, lambda: signer("GET", key, {}), target, chunk=256 * 1024)
    assert (target.read_bytes() == content, found.size) == (True, size)
    assert size == 0 or found.etag == api.etags[0]


def test_an_upload_of_parts_and_its_download_by_ranges(
    store: RunningStore, signer: Signer, engine: Engine, tmp_path: Path
) -> None:
    content = random.Random(1).randbytes(10 * MIB + 1)
    (tmp_path / "source").write_bytes(content)
    api = StoreUploads(store, "parts.bin", [signer])
    sent = upload_file(engine, tmp_path / "source", name="file", api=api, chunk=5 * MIB)
    assert (sent.size, sorted(api.kept)) == (len(content), [1, 2, 3])
    target = tmp_path / "target"
    found = download_file(engine, lambda: signer("GET", "parts.bin", {}), target, chunk=3 * MIB)
    assert target.read_bytes() == content
    assert found.etag is not None
    assert found.etag.endswith('-3"')


def test_reading_here_and_there(store: RunningStore, engine: Engine, tmp_path: Path) -> None:
    content = random.Random(2).randbytes(MIB)
    store.client.put_object(Bucket=store.account.bucket, Key="random", Body=content)
    file = RemoteFile(engine, lambda: with_minio(store.account)("GET", "random", {}))
    assert file.size == MIB
    for offset in (0, 1, 4096, MIB - 10):
        assert file.read(offset, 100) == content[offset : offset + 100]


def test_another_object_does_not_match(store: RunningStore, signer: Signer, engine: Engine) -> None:
    for body in (b"one", b"two"):
        stored = store.client.put_object(Bucket=store.account.bucket, Key="key", Body=body)
    url = signer("GET", "key", {})
    for etag, status in (('"0123456789abcdef0123456789abcdef"', 412), (stored["ETag"], 206)):
        gathered = Gathered()
        answer = engine.get(url, sink=gathered, abort=lambda: False, start=0, end=1, etag=etag)
        assert answer.status == status
    assert gathered == b"tw"


@pytest.mark.parametrize("scheme", [SigV4, SigV2])
def test_expired_urls_are_renewed(
    store: RunningStore, engine: Engine, tmp_path: Path, scheme: Callable[..., Scheme]
) -> None:
    content = random.Random(3).randbytes(6 * MIB)
    (tmp_path / "source").write_bytes(content)
    signers = [own(scheme, age=100)(store.account), with_boto3(store.account)]
    api = StoreUploads(store, "renewed", signers)
    upload_file(engine, tmp_path / "source", name="file", api=api, chunk=5 * MIB)
    assert api.inits == 2
    target = tmp_path / "target"
    download_file(engine, lambda: signers.pop(0)("GET", "renewed", {}), target, chunk=5 * MIB)
    assert target.read_bytes() == content
    assert signers == []


def test_what_the_sdk_signs_expires_and_is_refused_by_its_code(
    store: RunningStore, engine: Engine, tmp_path: Path
) -> None:
    store.client.put_object(Bucket=store.account.bucket, Key="expired", Body=b"x")
    url = with_boto3(replace(store.account, expires=1))("GET", "expired", {})
    tick = Event()
    while engine.get(url, sink=Gathered(), abort=lambda: False).status == 200:
        tick.wait(0.1)
    with pytest.raises(StorageError) as caught:
        download_file(engine, lambda: url, tmp_path / "target")
    assert (caught.value.status, caught.value.store_code) == (403, "AccessDenied")
    assert caught.value.request_id
    assert "AccessDenied" in str(caught.value)
    assert "X-Amz" not in str(caught.value)
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("name", [*SIGNERS, "own V4", "own V2"])
def test_hostile_keys_are_never_taken_for_others(
    store: RunningStore, name: str, engine: Engine, window: BinaryWindow
) -> None:
    """A store that takes a key gives back what was put there; none finds a signature wrong."""
    makers = SIGNERS | {"own V4": own(SigV4), "own V2": own(SigV2)}
    signer = makers[name](store.account)
    refused = set()
    for key in HOSTILE_KEYS:
        try:
            put, get = signer("PUT", key, {}), signer("GET", key, {})
        except ValueError:  # minio's own refusal
            refused.add(key)
            continue
        answer, gathered = engine.put(put, window, lambda: False), Gathered()
        engine.get(get, sink=gathered, abort=lambda: False)
        assert b"Signature" not in answer.body, key
        if not answer.ok:
            refused.add(key)
            continue
        if key not in EMPTIED[store.name]:
            assert gathered == b"body", key
        store.client.delete_object(Bucket=store.account.bucket, Key=key)
    assert refused == REFUSED[store.name]
