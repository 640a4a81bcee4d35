"""As small as a right client of the protocol can be: for trying the strict judge."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import socket
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.strict_datahub import StrictDatahub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUBTASK = "task_abc_001_ingest"
KEY, SECRET, TOKEN = "plugin-key-0001", "an-api-secret-0001", "a-bearer-token-0001"
CHUNK = 5242880
SOURCE = bytes(range(256)) * 40


class Client:
    """`content`, bodies and headers can be made wrong from outside."""

    def __init__(self, hub: StrictDatahub, *, key: str = "", secret: str = "") -> None:
        self.hub = hub
        self.key = key
        self.secret = secret

    def exchange(
        self,
        url: str,
        method: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        address, slash, target = url.removeprefix("http://").partition("/")
        connection = http.client.HTTPConnection(address, timeout=20)
        try:
            connection.request(method, slash + target, body, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def sign(self, parameters: dict[str, str], body: bytes, age: int = 0) -> dict[str, str]:
        if not self.key:
            return {}
        stamp = str(int(time.time()) - age)
        query = json.dumps(parameters, sort_keys=True, separators=(",", ":")) if parameters else ""
        message = query.encode() + body + stamp.encode()
        digest = hmac.new(self.secret.encode(), message, hashlib.sha256).hexdigest()
        return {"D-API-KEY": self.key, "D-TIMESTAMP": stamp, "D-SIGNATURE": digest}

    def post(self, path: str, /, **content: Any) -> Any:
        return self.post_raw(path, json.dumps({"subtask_id": SUBTASK} | content).encode())

    def post_raw(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> Any:
        headers = {"Content-Type": "application/json"} | self.sign({}, body) | (headers or {})
        return json.loads(
            self.exchange(f"{self.hub.url}/api/task/{path}", "POST", body, headers)[2]
        )

    def get(self, path: str, name: str, value: str = SUBTASK) -> Any:
        url = f"{self.hub.url}/api/task/{path}?{name}={value}"
        headers = self.sign({name: value}, b"")
        return json.loads(self.exchange(url, "GET", headers=headers)[2])

    def status(self, status: Any) -> Any:
        return self.post("update_status", status=status)

    def beat(self, process: Any = 0, timestamp: Any = None) -> Any:
        timestamp = int(time.time()) if timestamp is None else timestamp
        return self.post("heartbeat", timestamp=timestamp, process=process)

    def finish(self, **result: Any) -> Any:
        return self.post("result", result=result)

    def init(self, size: int, chunk: int | None = None, **more: Any) -> tuple[str, list[str]]:
        content = {"file_name": "out.bin", "file_size": size, "chunk_size": chunk} | more
        data = self.post("upload/init", **content)["data"] or {
            "upload_id": "",
            "part_upload_urls": [],
        }
        return data["upload_id"], part_urls(data["part_upload_urls"])

    def put(self, url: str, body: bytes, **headers: str) -> str:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.exchange(url, "PUT", body, named)[1].get("ETag", "")

    def complete(self, upload_id: str, *etags: str) -> Any:
        parts = [{"index": index, "etag": etag} for index, etag in enumerate(etags, 1)]
        return self.post("upload/complete", upload_id=upload_id, parts=parts)

    def download_url(self) -> str:
        return str(self.get("download/presign", "subtask_id")["data"]["download_url"])

    def read(self, url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.exchange(url, "GET", None, named)


def part_urls(listed: list[Any]) -> list[str]:
    if listed and isinstance(listed[0], dict):
        return [part["url"] for part in sorted(listed, key=lambda part: part["index"])]
    return listed


def raw(url: str, request: str) -> bytes:
    """Send what no library would, and return the answer up to the end of the connection."""
    parts = urlsplit(url)
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=20) as sock:
        sock.sendall(request.replace("HOST", parts.netloc).encode())
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b""))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "input.bin"
    path.write_bytes(SOURCE)
    return path


@pytest.fixture
def hub(source: Path) -> Iterator[StrictDatahub]:
    with StrictDatahub(input_file=source) as opened:
        yield opened


@pytest.fixture
def client(hub: StrictDatahub) -> Client:
    """Return a client that has reported status 1."""
    client = Client(hub)
    client.status(1)
    return client
