"""The local storage in each dialect, over real sockets: ETags, error documents, refusals."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from plugin_framework.emulator import Emulator
from plugin_framework.emulator.app import ACCESS_KEY
from plugin_framework.emulator.dialects import Bucket, Dialect, dialect_named
from tests.emulator.calling import MIB, Answer, Plugin, eventually, send

CONTENT = bytes(range(256)) * 4
WRONG = base64.b64encode(bytes(16)).decode()
MD5 = hashlib.md5(b"abc").hexdigest()


@dataclass(frozen=True)
class Manner:
    """How a dialect answers: its ids' headers, and the elements of an error document, in order."""

    ids: tuple[str, ...]
    elements: tuple[str, ...]
    etag: str
    parts_etag: str


S3 = Manner(
    ids=("x-amz-request-id", "x-amz-id-2"),
    elements=("Code", "Message", "Key", "RequestId", "HostId"),
    etag=f'"{MD5}"',
    parts_etag='"[0-9a-f]{32}-2"',
)
OSS = Manner(
    ids=("x-oss-request-id",),
    elements=("Code", "Message", "RequestId", "HostId", "Key"),
    etag=f'"{MD5.upper()}"',
    parts_etag='"[0-9A-F]{32}-2"',
)
COS = Manner(
    ids=("x-cos-request-id", "x-cos-trace-id"),
    elements=("Code", "Message", "Key", "Resource", "RequestId", "TraceId"),
    etag=f'"(?!{MD5})[0-9a-f]{{32}}"',
    parts_etag='"[0-9a-f]{32}-2"',
)
MANNERS = {"s3": S3, "s3-v2": S3, "oss": OSS, "oss-v1": OSS, "cos": COS}
EXPIRED = {
    "s3": "Request has expired",
    "s3-v2": "Request has expired",
    "oss": "Request has expired.",
    "oss-v1": "Request has expired.",
    "cos": "Request has expired",
}


@pytest.fixture(scope="module", params=MANNERS)
def emulator(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Emulator]:
    """One server for each dialect."""
    state_dir = tmp_path_factory.mktemp("datahub")
    source = state_dir / "input.bin"
    source.write_bytes(CONTENT)
    with Emulator(state_dir=state_dir / "state", dialect=request.param) as running:
        running.store.create_subtask("a", input=source)
        Plugin(running.url).status("a", 1)
        yield running


@pytest.fixture
def name(emulator: Emulator, request: pytest.FixtureRequest) -> str:
    found: str = request.node.callspec.params["emulator"]
    return found


@pytest.fixture
def manner(name: str) -> Manner:
    return MANNERS[name]


@pytest.fixture
def plugin(emulator: Emulator) -> Plugin:
    return Plugin(emulator.url)


def dialect_of(emulator: Emulator, name: str) -> Dialect:
    bucket = Bucket(f"{emulator.url}/storage/datahub")
    return dialect_named(name, bucket, ACCESS_KEY, emulator.store.storage_secret)


def ids_of(answer: Answer, manner: Manner) -> list[str]:
    return [answer.headers[name] for name in manner.ids]


def test_a_whole_task(plugin: Plugin, emulator: Emulator, manner: Manner) -> None:
    """Single and of parts, with the dialect's own ETags up to the completion."""
    assert send("GET", plugin.download_url("a")).body == CONTENT
    data = plugin.init("a", 5 * MIB + 1, "parts", chunk_size=5 * MIB).data
    urls = [part["url"] for part in data["part_upload_urls"]]
    answers = [send("PUT", urls[0], b"a" * 5 * MIB), send("PUT", urls[1], b"b")]
    etags = [answer.headers["etag"] for answer in answers]
    assert plugin.complete("a", data["upload_id"], [etags[0], '""']).refusal == (200, 1)
    assert plugin.complete("a", data["upload_id"], etags).json["code"] == 0
    assert plugin.complete("a", data["upload_id"], etags).json["code"] == 0
    plugin.upload("a", b"abc", "single")
    found = {each.name: each.path.read_bytes() for each in emulator.store.outputs("a")}
    assert found == {"parts": b"a" * 5 * MIB + b"b", "single": b"abc"}


def test_etags(plugin: Plugin, manner: Manner) -> None:
    url = plugin.init("a", 3).data["part_upload_urls"][0]["url"]
    answer = send("PUT", url, b"abc")
    assert re.fullmatch(manner.etag, answer.headers["etag"])
    assert ids_of(answer, manner) != ids_of(send("PUT", url, b"abc"), manner)
    whole = send("GET", plugin.download_url("a")).headers["etag"]
    for etag, status in ((whole, 206), ('"other"', 412)):
        headers = [("If-Match", etag), ("Range", "bytes=0-9")]
        assert send("GET", plugin.download_url("a"), headers=headers).status == status


def test_an_object_of_parts_has_their_number_in_its_etag(
    plugin: Plugin, emulator: Emulator, name: str, manner: Manner
) -> None:
    data = plugin.init("a", 5 * MIB + 1, "again", chunk_size=5 * MIB).data
    urls = [part["url"] for part in data["part_upload_urls"]]
    etags = [send("PUT", urls[0], b"a" * 5 * MIB).headers["etag"]]
    etags.append(send("PUT", urls[1], b"b").headers["etag"])
    address = plugin.complete("a", data["upload_id"], etags).data["file_url"]
    dialect = dialect_of(emulator, name)
    url = dialect.sign("GET", address.rpartition("/")[2], {}, 60, time.time())
    answer = send("GET", url, headers=[("Range", "bytes=5242879-")])
    assert (answer.status, answer.body) == (206, b"ab")
    assert re.fullmatch(manner.parts_etag, answer.headers["etag"])


def test_error_documents(plugin: Plugin, emulator: Emulator, name: str, manner: Manner) -> None:
    url = dialect_of(emulator, name).sign("GET", "nothing", {}, 60, time.time())
    answer = send("GET", url)
    assert answer.s3_error == (404, "NoSuchKey")
    assert tuple(re.findall(r"<(\w+)>", answer.body.decode())[1:]) == manner.elements
    assert answer.element("RequestId") == ids_of(answer, manner)[0]
    assert url.partition("?")[2] not in answer.body.decode()
    host = emulator.url.removeprefix("http://")
    place = {OSS: ("HostId", host), COS: ("Resource", f"{host}/storage/datahub/nothing")}
    if manner in place:
        assert answer.element(place[manner][0]) == place[manner][1]


def test_an_altered_url(plugin: Plugin, manner: Manner) -> None:
    url = plugin.download_url("a").replace("/datahub/", "/datahub/x")
    answer = send("GET", url)
    assert answer.s3_error == (403, "SignatureDoesNotMatch")
    assert answer.element("RequestId") == ids_of(answer, manner)[0]


def test_an_expired_url(emulator: Emulator, name: str) -> None:
    dialect = dialect_of(emulator, name)
    url = dialect.sign("GET", "key", {}, 1, time.time())
    assert eventually(lambda: send("GET", url).status == 403)
    answer = send("GET", url)
    assert answer.s3_error == (403, "AccessDenied")
    assert answer.element("Message") == EXPIRED[name]


def test_chunks_small_parts_and_foreign_parts_are_refused(plugin: Plugin) -> None:
    data = plugin.init("a", 5 * MIB + 1, chunk_size=5 * MIB).data
    urls = [part["url"] for part in data["part_upload_urls"]]
    assert send("PUT", urls[0], iter([b"abc"])).s3_error == (411, "MissingContentLength")
    etags = [send("PUT", urls[0], b"a").headers["etag"]]
    etags.append(send("PUT", urls[1], b"b" * 5 * MIB).headers["etag"])
    answer = plugin.complete("a", data["upload_id"], etags)
    assert "EntityTooSmall" in answer.json["msg"]
    assert plugin.complete("a", data["upload_id"], etags[:1]).refusal == (200, 1)


def test_an_unknown_dialect_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are s3, s3-v2, oss, oss-v1, cos"):
        Emulator(state_dir=tmp_path, dialect="gcs")


@pytest.mark.parametrize("end", [1, 3], ids=["running", "ended"])
def test_what_was_completed_cannot_be_replaced(
    plugin: Plugin, emulator: Emulator, name: str, manner: Manner, end: int
) -> None:
    subtask_id = f"{name}-{end}"
    emulator.store.create_subtask(subtask_id)
    plugin.status(subtask_id, 1)
    data = plugin.init(subtask_id, 3).data
    url = data["part_upload_urls"][0]["url"]
    assert send("PUT", url, b"ab").status == 200
    etag = send("PUT", url, b"abc").headers["etag"]
    assert plugin.complete(subtask_id, data["upload_id"], [etag]).json["code"] == 0
    if end == 3:
        assert plugin.result(subtask_id, {"total_counts": 1}).json["code"] == 0
    answer = send("PUT", url, b"other")
    assert answer.s3_error == (403, "AccessDenied")
    assert answer.element("RequestId") == ids_of(answer, manner)[0]
    (output,) = emulator.store.outputs(subtask_id)
    assert (output.size, output.path.read_bytes()) == (3, b"abc")


def test_a_put_that_ends_after_the_completion_replaces_nothing(
    plugin: Plugin, emulator: Emulator, name: str
) -> None:
    subtask_id = f"{name}-late"
    emulator.store.create_subtask(subtask_id)
    plugin.status(subtask_id, 1)
    data = plugin.init(subtask_id, 3).data
    url = urlsplit(data["part_upload_urls"][0]["url"])
    etag = send("PUT", url.geturl(), b"abc").headers["etag"]
    folder = emulator.store.objects.path("any").parent
    before = set(folder.iterdir())
    late = HTTPConnection(url.netloc, timeout=30)
    late.putrequest("PUT", f"{url.path}?{url.query}")
    late.putheader("Content-Length", "3")
    late.endheaders(b"xy")
    assert eventually(lambda: bool(set(folder.iterdir()) - before))
    assert plugin.complete(subtask_id, data["upload_id"], [etag]).json["code"] == 0
    late.send(b"z")
    assert late.getresponse().status == 403
    late.close()
    assert set(folder.iterdir()) == before
    (output,) = emulator.store.outputs(subtask_id)
    assert output.path.read_bytes() == b"abc"


@pytest.mark.parametrize(("digest", "code"), [("x", "InvalidDigest"), (WRONG, "BadDigest")])
def test_digests(plugin: Plugin, name: str, manner: Manner, digest: str, code: str) -> None:
    """The schemes that sign Content-MD5 see a header that the URL was not signed with."""
    url = plugin.init("a", 3).data["part_upload_urls"][0]["url"]
    answer = send("PUT", url, b"abc", [("Content-MD5", digest)])
    refused = (400, code) if name in {"s3", "cos"} else (403, "SignatureDoesNotMatch")
    assert answer.s3_error == refused
    assert answer.element("RequestId") == ids_of(answer, manner)[0]
