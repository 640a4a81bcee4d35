"""The object store, over real sockets."""

from __future__ import annotations

import base64
import hashlib
import time
from pathlib import Path
from typing import Any

import pytest

from plugin_framework.emulator import Emulator, Store
from plugin_framework.emulator.app import ACCESS_KEY
from plugin_framework.emulator.dialects import Bucket
from plugin_framework.emulator.dialects.sigv4 import SigV4
from tests.emulator.calling import MIB, Plugin, send

CONTENT = bytes(range(256)) * 4
DIGEST = base64.b64encode(hashlib.md5(b"abc").digest()).decode()


def signer_of(emulator: Emulator, bucket: str = "datahub") -> SigV4:
    place = Bucket(f"{emulator.url}/storage/{bucket}")
    return SigV4(place, ACCESS_KEY, emulator.store.storage_secret)


@pytest.fixture
def url(plugin: Plugin, source: str) -> str:
    """A presigned GET of ``CONTENT``."""
    return plugin.download_url(source)


@pytest.fixture
def put_url(plugin: Plugin, running: str) -> str:
    """A presigned single PUT."""
    found: str = plugin.init(running, 3).data["part_upload_urls"][0]["url"]
    return found


def test_a_whole_get(url: str) -> None:
    answer = send("GET", url)
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.headers["content-length"] == "1024"
    assert answer.headers["accept-ranges"] == "bytes"
    assert "content-encoding" not in answer.headers
    assert "content-range" not in answer.headers


def test_a_get_waits_for_nobody_who_writes_to_the_state(emulator: Emulator, url: str) -> None:
    with emulator.store.database.transaction():
        assert send("GET", url).body == CONTENT


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-1023", 0, 1024),
        ("bytes=1000-", 1000, 1024),
        ("bytes=-24", 1000, 1024),
        ("bytes=-5000", 0, 1024),
        ("bytes=1023-99999999999999999", 1023, 1024),
    ],
)
def test_ranges(url: str, asked: str, start: int, stop: int) -> None:
    answer = send("GET", url, headers=[("Range", asked)])
    assert (answer.status, answer.body) == (206, CONTENT[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/1024"
    assert answer.headers["content-length"] == str(stop - start)
    assert answer.headers["etag"] == send("GET", url).headers["etag"]


@pytest.mark.parametrize("asked", ["bytes=1024-", "bytes=5000-6000", "bytes=-0"])
def test_ranges_behind_the_end_are_416(url: str, asked: str) -> None:
    answer = send("GET", url, headers=[("Range", asked)])
    assert answer.s3_error == (416, "InvalidRange")
    assert answer.headers["content-range"] == "bytes */1024"
    assert answer.element("ActualObjectSize") == "1024"


@pytest.mark.parametrize(
    "asked", ["bytes=5-4", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=0-1,3-4", ""]
)
def test_what_is_no_single_range_is_ignored(url: str, asked: str) -> None:
    answer = send("GET", url, headers=[("Range", asked)])
    assert (answer.status, answer.body) == (200, CONTENT)


def test_an_empty_object(plugin: Plugin, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    store.create_subtask(f"empty-{tmp_path.name}", input=path)
    url = plugin.download_url(f"empty-{tmp_path.name}")
    assert (send("GET", url).status, send("GET", url).body) == (200, b"")
    answer = send("GET", url, headers=[("Range", "bytes=0-0")])
    assert (answer.status, answer.headers["content-range"]) == (416, "bytes */0")


def test_if_match(url: str) -> None:
    etag = send("GET", url).headers["etag"]
    for matching in (etag, etag.strip('"'), f'"other", {etag}', "*"):
        headers = [("If-Match", matching), ("Range", "bytes=0-9")]
        assert send("GET", url, headers=headers).status == 206
    answer = send("GET", url, headers=[("If-Match", '"other"'), ("Range", "bytes=9999-")])
    assert answer.s3_error == (412, "PreconditionFailed")


def test_an_input_that_changes_has_another_etag(
    plugin: Plugin, source: str, url: str, tmp_path: Path
) -> None:
    etag = send("GET", url).headers["etag"]
    path = tmp_path / "input.bin"
    path.write_bytes(b"changed")
    assert send("GET", url, headers=[("If-Match", etag)]).status == 412
    assert send("GET", url).body == b"changed"


def test_a_get_url_is_for_get_only(url: str) -> None:
    assert send("PUT", url, b"x").s3_error == (403, "SignatureDoesNotMatch")
    assert send("DELETE", url).s3_error == (403, "SignatureDoesNotMatch")
    head = send("HEAD", url)
    assert (head.status, head.body) == (403, b"")


def test_an_altered_url_is_refused(url: str) -> None:
    signature = url.rpartition("=")[2]
    answer = send("GET", url.replace("X-Amz-Expires=3600", "X-Amz-Expires=3601"))
    assert answer.s3_error == (403, "SignatureDoesNotMatch")
    assert answer.element("SignatureProvided") == signature
    assert answer.element("StringToSign").startswith("AWS4-HMAC-SHA256\n")
    assert answer.headers["x-amz-request-id"] == answer.element("RequestId")
    for altered in (
        url.replace("?", "x?"),
        url.replace("/datahub/", "/datahub/../datahub/"),
        url + "&partNumber=1",
        url.replace(signature, signature.upper()),
        url.replace(signature, "é".encode().decode("latin-1").encode("latin-1").hex()),
    ):
        assert send("GET", altered).s3_error == (403, "SignatureDoesNotMatch")


def test_the_host_is_signed(url: str) -> None:
    port = url.split("/")[2].partition(":")[2]
    answer = send("GET", url, headers=[("Host", f"localhost:{port}")])
    assert answer.s3_error == (403, "SignatureDoesNotMatch")
    assert send("GET", url, headers=[("Host", "evil.example")]).status == 403


def test_no_signature_no_entry(url: str) -> None:
    bare = url.partition("?")[0]
    assert send("GET", bare).s3_error == (403, "AccessDenied")
    assert send("PUT", bare, b"x").s3_error == (403, "AccessDenied")


def test_an_expired_url(emulator: Emulator, url: str) -> None:
    bare = url.partition("?")[0]
    expired = signer_of(emulator).sign("GET", bare.rpartition("/")[2], {}, 60, time.time() - 62)
    answer = send("GET", expired)
    assert answer.s3_error == (403, "AccessDenied")
    assert answer.element("Message") == "Request has expired"
    assert answer.element("X-Amz-Expires") == "60"
    assert answer.element("Expires") < answer.element("ServerTime")


def test_headers_beside_the_signature(url: str, put_url: str) -> None:
    for method, target, body in (("GET", url, None), ("PUT", put_url, b"abc")):
        answer = send(method, target, body, [("Authorization", "Bearer x")])
        assert answer.s3_error == (400, "InvalidArgument")
        answer = send(method, target, body, [("x-amz-meta-a", "1")])
        assert answer.s3_error == (403, "AccessDenied")
        assert answer.element("HeadersNotSigned") == "x-amz-meta-a"


def test_a_put_answers_with_the_md5(put_url: str) -> None:
    answer = send("PUT", put_url, b"abc")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["etag"] == f'"{hashlib.md5(b"abc").hexdigest()}"'


def test_a_put_needs_a_length(put_url: str) -> None:
    answer = send("PUT", put_url, iter([b"abc"]))
    assert answer.s3_error == (411, "MissingContentLength")


def test_a_put_has_a_largest_size(put_url: str) -> None:
    answer = send("PUT", put_url, None, [("Content-Length", str(5 * 1024**3 + 1))])
    assert answer.s3_error == (400, "EntityTooLarge")


def test_what_is_not_there(emulator: Emulator, url: str) -> None:
    def error(method: str, key: str, bucket: str = "datahub", **params: str) -> tuple[int, str]:
        signed = signer_of(emulator, bucket).sign(method, key, params, 60, time.time())
        return send(method, signed, b"x" if method == "PUT" else None).s3_error

    assert error("GET", "nothing") == (404, "NoSuchKey")
    assert error("PUT", "nothing") == (404, "NoSuchKey")
    assert error("GET", "key", bucket="elsewhere") == (404, "NoSuchBucket")
    assert error("DELETE", "key") == (405, "MethodNotAllowed")
    assert error("PUT", "k", partNumber="1", uploadId="nothing") == (404, "NoSuchUpload")
    for number in ("0", "10001", "1x"):
        refusal = error("PUT", "k", partNumber=number, uploadId="nothing")
        assert refusal == (400, "InvalidArgument")
    assert error("PUT", "k", uploadId="nothing") == (400, "InvalidArgument")


def test_keys_are_no_paths(emulator: Emulator) -> None:
    for key in ("../datahub.sqlite3", "..%2Fdatahub.sqlite3", "\0", "/etc/passwd", "a" * 3000):
        signed = signer_of(emulator).sign("GET", key, {}, 60, time.time())
        assert send("GET", signed).s3_error == (404, "NoSuchKey")


def test_secrets_are_for_their_owner(emulator: Emulator, tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    assert len(store.storage_secret) == 64
    assert store.storage_secret != emulator.store.storage_secret
    store.close()
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()}
    assert modes["datahub.sqlite3"] == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("chunk", [None, 5 * MIB], ids=["single", "part"])
@pytest.mark.parametrize(
    ("digests", "code"),
    [
        (["nonsense"], "InvalidDigest"),
        ([""], "InvalidDigest"),
        (["YWJj"], "InvalidDigest"),
        (["é"], "InvalidDigest"),
        ([DIGEST.rstrip("=")], "InvalidDigest"),
        ([DIGEST, DIGEST], "InvalidDigest"),
        ([base64.b64encode(bytes(16)).decode()], "BadDigest"),
    ],
)
def test_a_body_that_is_not_as_was_said_is_not_stored(
    plugin: Plugin, store: Store, running: str, chunk: int | None, digests: list[str], code: str
) -> None:
    more: dict[str, Any] = {} if chunk is None else {"chunk_size": chunk}
    data = plugin.init(running, 3, **more).data
    url = data["part_upload_urls"][0]["url"]
    answer = send("PUT", url, b"abc", [("Content-MD5", digest) for digest in digests])
    assert answer.s3_error == (400, code)
    etag = f'"{hashlib.md5(b"abc").hexdigest()}"'
    assert plugin.complete(running, data["upload_id"], [etag]).refusal == (200, 1)
    assert send("PUT", url, b"abc", [("Content-MD5", DIGEST)]).headers["etag"] == etag
    assert plugin.complete(running, data["upload_id"], [etag]).json["code"] == 0
    assert store.outputs(running)[0].path.read_bytes() == b"abc"
