"""Answers of an object store, right and wrong, for a server that does what a script says."""

from __future__ import annotations

from collections.abc import Sequence

from plugin_framework.transfer.upload import StoredPart, UploadSlots
from tests.scripted_server import Exchange, ScriptedServer, Step, answer

CANARY = "c4n4ry"
QUERY = f"X-Amz-Signature={CANARY}&a=%2f%2F&b="
ETAG = ("ETag", '"9B2c-7"')
STORED = answer(b"", headers=[ETAG])


class Api:
    """Datahub's side of an upload: the parts go to the URLs it was made with."""

    def __init__(self, *urls: str) -> None:
        self.urls = urls
        self.inits = 0
        self.completed: list[tuple[int, str]] = []

    def init(
        self, file_name: str, size: int, chunk_size: int | None, *, resume: bool
    ) -> UploadSlots:
        self.inits += 1
        return UploadSlots(f"u{self.inits}", self.urls)

    def keep(self, upload_id: str, index: int, part: StoredPart) -> None: ...

    def complete(self, upload_id: str, parts: Sequence[tuple[int, str]]) -> None:
        self.completed = list(parts)


def part(data: bytes, start: int, total: int, *headers: tuple[str, str]) -> Step:
    """A right answer to a range."""
    span = ("Content-Range", f"bytes {start}-{start + len(data) - 1}/{total}")
    return answer(data, status=206, headers=[span, *(headers or [ETAG])])


def serving(content: bytes) -> Step:
    """A right answer to whatever range of ``content``."""

    def step(exchange: Exchange) -> bool:
        text = exchange.request.header("range") or ""
        start, end = map(int, text.removeprefix("bytes=").split("-"))
        return part(content[start : end + 1], start, len(content))(exchange)

    return step


def error(status: int, code: str | None = None, message: str = "") -> Step:
    """An error document, or none; the store's message repeats what it was asked, as some do."""
    named = f"<Code>{code}</Code><Message>{message} {QUERY}</Message><RequestId>R-7</RequestId>"
    body = f"<?xml version='1.0'?><Error>{named}</Error>" if code else ""
    return answer(body.encode(), status=status, headers=[("Content-Type", "application/xml")])


def url_of(server: ScriptedServer, path: str = "/b/../k%2f") -> str:
    return f"{server.url}{path}?{QUERY}"
