"""A plugin's side of the protocol, written from PROTOCOL.md alone and signing by itself."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Event
from typing import Any
from urllib.parse import urlencode, urlsplit

MIB = 1024 * 1024


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed

    @property
    def data(self) -> dict[str, Any]:
        assert (self.status, self.json["code"], self.json["msg"]) == (200, 0, "success"), self.json
        data: dict[str, Any] = self.json["data"]
        return data

    @property
    def refusal(self) -> tuple[int, int]:
        """HTTP status and the envelope's code."""
        assert set(self.json) == {"code", "msg", "data"}
        return self.status, self.json["code"]

    def element(self, name: str) -> str:
        """The text of an element of S3's error XML."""
        assert self.headers["content-type"] == "application/xml"
        found = re.search(f"<{name}>(.*?)</{name}>", self.body.decode(), re.DOTALL)
        assert found, self.body
        return found[1]

    @property
    def s3_error(self) -> tuple[int, str]:
        return self.status, self.element("Code")


def send(
    method: str,
    url: str,
    body: bytes | Iterable[bytes] | None = None,
    headers: Iterable[tuple[str, str]] = (),
) -> Answer:
    """One request on a connection of its own; a ``Host`` among the headers replaces ours."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    headers = list(headers)
    try:
        own_host = any(name.lower() == "host" for name, _ in headers)
        connection.putrequest(method, target, skip_host=own_host, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        _send_body(connection, body)
        response = connection.getresponse()
        got = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, got, response.read())
    finally:
        connection.close()


def _send_body(
    connection: http.client.HTTPConnection, body: bytes | Iterable[bytes] | None
) -> None:
    if body is None:
        connection.endheaders()
    elif isinstance(body, bytes):
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
    else:
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders(body, encode_chunked=True)


def eventually(condition: Callable[[], bool], seconds: float = 20) -> bool:
    """Poll until it holds; ``Event.wait`` is the clock."""
    tick = Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return True
        tick.wait(0.02)
    return False


def signature(secret: str, query: Mapping[str, str], body: bytes, timestamp: str) -> str:
    text = json.dumps(query, sort_keys=True, separators=(",", ":")) if query else ""
    message = text.encode() + body + timestamp.encode()
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Plugin:
    """Calls an emulator, signed where there is a secret."""

    url: str
    key: str = ""
    secret: str = ""

    def post(self, path: str, body: Mapping[str, Any] | bytes) -> Answer:
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        return send("POST", self.url + path, sent, self.headers({}, sent))

    def get(self, path: str, **query: str) -> Answer:
        url = f"{self.url}{path}?{urlencode(query)}" if query else self.url + path
        return send("GET", url, None, self.headers(query, b""))

    def headers(
        self, query: Mapping[str, str], body: bytes, timestamp: str | None = None
    ) -> list[tuple[str, str]]:
        if not self.secret:
            return []
        timestamp = str(int(time.time())) if timestamp is None else timestamp
        return [
            ("D-API-KEY", self.key),
            ("D-TIMESTAMP", timestamp),
            ("D-SIGNATURE", signature(self.secret, query, body, timestamp)),
        ]

    def status(self, subtask_id: str, status: int) -> Answer:
        return self.post("/api/task/update_status", {"subtask_id": subtask_id, "status": status})

    def beat(self, subtask_id: str, **fields: Any) -> Answer:
        body = {"subtask_id": subtask_id, "timestamp": int(time.time()), "process": 50}
        return self.post("/api/task/heartbeat", body | fields)

    def result(self, subtask_id: str, result: Any) -> Answer:
        return self.post("/api/task/result", {"subtask_id": subtask_id, "result": result})

    def init(self, subtask_id: str, size: int, name: str = "out", **fields: Any) -> Answer:
        body = {"subtask_id": subtask_id, "file_name": name, "file_size": size, **fields}
        return self.post("/api/task/upload/init", body)

    def complete(self, subtask_id: str, upload_id: str, etags: Iterable[str]) -> Answer:
        parts = [{"index": index, "etag": etag} for index, etag in enumerate(etags, 1)]
        body = {"subtask_id": subtask_id, "upload_id": upload_id, "parts": parts}
        return self.post("/api/task/upload/complete", body)

    def upload(self, subtask_id: str, content: bytes, name: str = "out") -> str:
        """A single upload, completed; its file_url."""
        data = self.init(subtask_id, len(content), name).data
        (part,) = data["part_upload_urls"]
        etag = send("PUT", part["url"], content).headers["etag"]
        url: str = self.complete(subtask_id, data["upload_id"], [etag]).data["file_url"]
        return url

    def download_url(self, subtask_id: str) -> str:
        url: str = self.get("/api/task/download/presign", subtask_id=subtask_id).data[
            "download_url"
        ]
        return url
