"""What is wrong with a store is said at the start, in one line."""

from __future__ import annotations

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from plugin_framework.emulator import Emulator
from plugin_framework.emulator.buckets import BucketAddress, check_bucket
from plugin_framework.errors import ConfigurationError
from tests.cli.calling import PROJECT, call
from tests.dialects.stores import RunningStore
from tests.emulator.buckets.conftest import variables
from tests.free_ports import free_port

SECRET = "another-secret-that-is-nobody's"
ANY = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(autouse=True)
def no_other_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def refusal(monkeypatch: pytest.MonkeyPatch, address: BucketAddress, env: dict[str, str]) -> str:
    """What is wrong with it, for whoever has these credentials."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        check_bucket(address)
    (problem,) = caught.value.problems
    assert "\n" not in problem
    assert SECRET not in problem
    return problem


def test_a_bucket_that_is_missing(real: RunningStore, monkeypatch: pytest.MonkeyPatch) -> None:
    address = BucketAddress.of("s3://nothing-here", real.account.endpoint)
    said = refusal(monkeypatch, address, variables(real))
    assert said == (
        f"--storage s3://nothing-here at {real.account.endpoint}: there is no such bucket"
    )


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"AWS_SECRET_ACCESS_KEY": SECRET}, "SignatureDoesNotMatch"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId"),
    ],
)
def test_wrong_credentials(
    real: RunningStore, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str], code: str
) -> None:
    address = BucketAddress.of(f"s3://{real.account.bucket}", real.account.endpoint)
    assert code in refusal(monkeypatch, address, variables(real) | wrong)


def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    said = refusal(monkeypatch, BucketAddress.of("s3://bucket", "http://127.0.0.1:9"), {})
    assert said.endswith("boto3 finds no credentials")


def problem_of_command(folder: Path, endpoint: str, env: dict[str, str]) -> str:
    """What the command says before it exits with 2."""
    place = ("--port", "0", "--state", folder / "state", "--endpoint", endpoint)
    ended = call("emulator", "--storage", "s3://bucket/prefix", *place, cwd=folder, env=env)
    assert ended.code == 2
    assert SECRET not in ended.err
    (problem,) = ended.problems
    return problem


def test_nobody_listens(tmp_path: Path) -> None:
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    env = {**ANY, "DATAHUB_LOG_LEVEL": "DEBUG"}
    said = problem_of_command(tmp_path, endpoint, env)
    assert said.startswith(f"--storage s3://bucket/prefix at {endpoint}: the store does not answer")


def test_without_the_extra(tmp_path: Path) -> None:
    (tmp_path / "boto3").mkdir()
    (tmp_path / "boto3" / "__init__.py").write_text("raise ImportError('not here')")
    path = {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(PROJECT)))}
    said = problem_of_command(tmp_path, "http://127.0.0.1:9", {**ANY, **path})
    assert "pip install 'datahub-plugin-framework[s3]'" in said


def test_from_python_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ANY.items():
        monkeypatch.setenv(name, value)
    emulator = Emulator(state_dir=tmp_path, storage="s3://bucket", endpoint="http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match="does not answer"):
        emulator.__enter__()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("storage", "endpoint", "dialect"),
    [
        ("bucket", None, "s3"),
        ("s3://", None, "s3"),
        ("s3://a b", None, "s3"),
        ("s3://bucket/\n", None, "s3"),
        ("gs://bucket", None, "s3"),
        ("s3://bucket", "127.0.0.1:9", "s3"),
        ("s3://bucket", "ftp://127.0.0.1", "s3"),
        ("s3://bucket", "http://user:hidden@127.0.0.1", "s3"),
        ("s3://bucket", "http://127.0.0.1:99999", "s3"),
        ("s3://bucket", None, "oss"),
    ],
)
def test_what_names_no_bucket(storage: str, endpoint: str | None, dialect: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        BucketAddress.of(storage, endpoint, dialect)
    assert len(caught.value.problems) == 1
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("name", ["b", "bu", "b" * 64])
def test_a_name_of_a_length_that_no_bucket_has(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        BucketAddress.of(f"s3://{name}/prefix", None)
    assert caught.value.problems == (
        f"--storage s3://{name}/prefix: a bucket's name has 3 to 63 characters",
    )
    for length in (3, 63):
        assert BucketAddress.of(f"s3://{'b' * length}", None).bucket == "b" * length


def test_nothing_is_left_of_the_trial(real: RunningStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables(real).items():
        monkeypatch.setenv(name, value)
    check_bucket(BucketAddress.of(f"s3://{real.account.bucket}/trial", real.account.endpoint))
    listed = real.client.list_objects_v2(Bucket=real.account.bucket, Prefix="trial/")
    assert listed["KeyCount"] == 0


class NoPuts(BaseHTTPRequestHandler):
    """A store that takes uploads of parts, and no other."""

    def answer(self, status: int, body: str) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def do_GET(self) -> None:
        self.answer(200, "<ListBucketResult/>")

    def do_POST(self) -> None:
        begun = "<InitiateMultipartUploadResult><UploadId>u</UploadId>"
        self.answer(200, begun + "</InitiateMultipartUploadResult>")

    def do_PUT(self) -> None:
        self.answer(403, "<Error><Code>AccessDenied</Code><Message>No.</Message></Error>")

    def do_DELETE(self) -> None:
        self.answer(204, "")

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_bucket_that_takes_no_single_uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), NoPuts) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        said = refusal(monkeypatch, BucketAddress.of("s3://bucket", endpoint), ANY)
        server.shutdown()
    assert said == f"--storage s3://bucket at {endpoint}: AccessDenied: No."


@pytest.mark.parametrize(
    "given", ["s3://bucket", "s3://bucket/", "s3://bucket/a", "s3://bucket/a/"]
)
def test_prefixes(given: str) -> None:
    address = BucketAddress.of(given, None)
    assert (address.bucket, address.prefix) == ("bucket", "a/" if "/a" in given else "")
