"""The storage half of the strict judge: presigned URLs with hostile paths, judged byte for byte."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.strict_wire import BLOCK, Exchange, Gone, Listener, framing_faults, head_faults

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.strict_rules import Credentials
    from tests.strict_wire import Request

SMALLEST_PART: Final = 5 * 1024 * 1024
COMMON: Final = frozenset({"host", "user-agent", "accept", "accept-encoding", "connection"})
ALLOWED: Final = {
    "PUT": COMMON | {"content-length"},
    "GET": COMMON | {"content-length", "range", "if-match"},
}
FAULTY_STATUS: Final = {"503": 503, "500": 500, "html": 200}
DENIED: Final = b"<Error><Code>%s</Code><RequestId>R-1</RequestId></Error>"


class StorageCall(NamedTuple):
    """One storage request; `time` is monotonic, `status` what was answered."""

    time: float
    method: str
    target: str
    range: str | None
    status: int


class StoredPart(NamedTuple):
    """A part as it lies on disk."""

    etag: str
    size: int
    path: Path


@dataclass(slots=True)
class Upload:
    """An upload as init asked for it. `chunk` is None for a single one."""

    upload_id: str
    file_name: str
    size: int
    chunk: int | None
    parts: dict[int, StoredPart] = field(default_factory=dict)
    completed_by: bytes | None = None
    acknowledged: bool = False

    @property
    def count(self) -> int:
        return max(1, -(-self.size // self.chunk)) if self.chunk else 1

    def size_fault(self, index: int, size: int) -> str | None:
        """Return what is wrong with a part of this size; the last is judged by the sum."""
        if index == self.count or self.chunk is None or size == self.chunk:
            return None
        if size < SMALLEST_PART:
            return f"part {index} of {self.count} has {size} bytes, fewer than {SMALLEST_PART}"
        return f"part {index} of {self.count} has {size} bytes, not {self.chunk}"


@dataclass(slots=True)
class PutGrant:
    upload: Upload
    index: int


@dataclass(slots=True)
class GetGrant:
    """`answered`: the client knows the ETag by this URL, and was not told that it changed."""

    answered: bool = False


class StrictStorage:
    """Holds parts and one downloadable object. All state is guarded by `changed`."""

    def __init__(
        self,
        folder: Path,
        changed: threading.Condition,
        complain: Callable[[str], None],
        credentials: Credentials,
        *,
        working: Callable[[], bool],
        next_fault: Callable[[str], str | None],
    ) -> None:
        self.listener = Listener(self._serve, complain)
        self.calls: list[StorageCall] = []
        self.abandoned: Counter[str] = Counter()
        self._folder = folder
        self._changed = changed
        self._complain = complain
        self._credentials = credentials
        self._working = working
        self._next_fault = next_fault
        self._puts: dict[str, PutGrant] = {}
        self._gets: dict[str, GetGrant] = {}
        self._numbers = count(1)
        self._object: Path | None = None
        self._etags: list[str] = []

    def hold(self, path: Path) -> None:
        """Serve this file from now on, under a new ETag."""
        with self._changed:
            self._object = path
            self._etags.append(f'"{secrets.token_hex(16).upper()}-{next(self._numbers)}"')

    def issue_put(self, upload: Upload, index: int) -> str:
        target = self._target(f"partNumber={index}&uploadId={upload.upload_id}%3d&")
        self._puts[target] = PutGrant(upload, index)
        return f"http://{self.listener.host}{target}"

    def issue_get(self) -> str:
        target = self._target("response-content-disposition=a%2fb+c%3B&")
        self._gets[target] = GetGrant()
        return f"http://{self.listener.host}{target}"

    def _target(self, query: str) -> str:
        return (
            f"/b/a%2Fb/../x/./%E4%BD%A0+~/k{next(self._numbers)}?{query}"
            f"X-Sig=%2fA%2BZ+%7e{secrets.token_urlsafe(16)}==&empty=&b=2&a=1&flag"
        )

    def _new_etag(self) -> str:
        token, number = secrets.token_hex(16), next(self._numbers)
        shapes = (f'"{token.upper()}-7"', f'W/"{token}"', f'"{token}"', f'"{token[:9]}+/=="')
        return shapes[number % len(shapes)]

    def _serve(self, exchange: Exchange) -> None:
        request = exchange.request
        if (how := self._next_fault(request.method)) == "outage":
            exchange.reset()
        with self._changed:
            refusal = self._refusal(request)
            self._changed.notify_all()
        if refusal is not None:
            self._log(request, refusal[0])
            exchange.refuse(refusal[0], DENIED % refusal[1])
        elif request.method == "PUT":
            self._put(exchange, how)
        else:
            self._get(exchange, how)

    def _refusal(self, request: Request) -> tuple[int, bytes] | None:
        """Return the status and error code to refuse a bad head with, after complaining of it."""
        if request.method not in ALLOWED:
            self._complain(f"storage: {request.method} is no method of its")
            return 405, b"MethodNotAllowed"
        framing = list(framing_faults(request))
        grants = self._puts if request.method == "PUT" else self._gets
        faults = framing or [
            *head_faults(request, self.listener.host, ALLOWED[request.method]),
            *self._credentials.leaks(request),
        ]
        if request.target not in grants:
            faults.append(f"{request.method} to a URL that was not issued for it, byte for byte")
        for fault in faults:
            self._complain(f"storage: {fault}")
        if not faults:
            return None
        return (411 if framing else 403), (b"MissingContentLength" if framing else b"AccessDenied")

    def _put(self, exchange: Exchange, how: str | None) -> None:
        request = exchange.request
        grant = self._puts[request.target]
        size = request.length or 0
        with self._changed:
            if not self._working():
                self._complain("storage: PUT outside status 1 and 2")
            if grant.upload.completed_by is not None:
                self._complain("storage: PUT to a completed upload")
            if fault := grant.upload.size_fault(grant.index, size):
                self._complain(f"storage: {fault}")
        part = self._receive(exchange, size // 2 if how == "reset_before" else None)
        self._fail(exchange, how)
        with self._changed:
            grant.upload.parts[grant.index] = part
            self._log(request, 200)
        if how == "reset_after":
            exchange.reset()
        exchange.answer(200, {"ETag": part.etag}, b"")

    def _receive(self, exchange: Exchange, limit: int | None) -> StoredPart:
        path = self._folder / f"part-{next(self._numbers)}"
        try:
            with path.open("wb") as file:
                for chunk in exchange.chunks(limit):
                    file.write(chunk)
        except (Gone, OSError):
            self.abandoned["PUT"] += 1  # a cancel may end a part in flight: no fault in itself
            path.unlink()
            raise
        return StoredPart(self._new_etag(), exchange.request.length or 0, path)

    def _fail(self, exchange: Exchange, how: str | None) -> None:
        """Act out the faults that change nothing here. Raises Gone; returns where there is none."""
        if how is None or how == "reset_after":
            return
        self._log(exchange.request, FAULTY_STATUS.get(how, 0))
        if how == "reset_before":
            exchange.reset()
        if how == "hang":
            exchange.hang()
        kind = "text/html" if how == "html" else "application/xml"
        content = b"<html>busy</html>" if how == "html" else DENIED % b"SlowDown"
        exchange.answer(FAULTY_STATUS[how], {"Content-Type": kind, "Connection": "close"}, content)
        raise Gone

    def _get(self, exchange: Exchange, how: str | None) -> None:
        request = exchange.request
        grant = self._gets[request.target]
        self._judge_range(request, grant)
        self._fail(exchange, how)
        with self._changed:
            path, etag = self._object, self._etags[-1]
            assert path is not None
            size = path.stat().st_size
            status, first, length = self._answer_to(request, size, etag)
            if how != "reset_after":
                grant.answered = status in {200, 206}
            self._log(request, status)
        headers = {"ETag": etag, "Accept-Ranges": "bytes"}
        if status == 206:
            headers["Content-Range"] = f"bytes {first}-{first + length - 1}/{size}"
        elif status == 416:
            headers["Content-Range"] = f"bytes */{size}"
        sent = length // 2 if how == "reset_after" else length
        exchange.answer(status, headers, _slice(path, first, sent), length)
        if how == "reset_after":
            exchange.reset()

    def _judge_range(self, request: Request, grant: GetGrant) -> None:
        ranges, conditions = request.values("Range"), request.values("If-Match")
        if ranges and (len(ranges) > 1 or not _parse_range(ranges[0], 1)):
            self._complain("storage: Range is not one plain range of bytes")
        if ranges and grant.answered and not conditions:
            self._complain("storage: a Range without If-Match after the first answer")
        if conditions and (len(conditions) > 1 or conditions[0] not in self._etags):
            self._complain("storage: If-Match is no ETag that was given")

    def _answer_to(self, request: Request, size: int, etag: str) -> tuple[int, int, int]:
        """Return status, first byte and length of the answer."""
        conditions, ranges = request.values("If-Match"), request.values("Range")
        if conditions and conditions != [etag]:
            return 412, 0, 0
        bounds = _parse_range(ranges[0], size) if ranges else None
        if bounds is None:
            return 200, 0, size
        first, last = bounds
        if first >= size:
            return 416, 0, 0
        return 206, first, min(last, size - 1) - first + 1

    def _log(self, request: Request, status: int) -> None:
        ranges = request.values("Range")
        with self._changed:
            self.calls.append(
                StorageCall(
                    time.monotonic(),
                    request.method,
                    request.target,
                    ranges[0] if ranges else None,
                    status,
                )
            )
            self._changed.notify_all()


def _parse_range(text: str, size: int) -> tuple[int, int] | None:
    """Return the first and last byte asked for, or None where it is no single range."""
    match = re.fullmatch("bytes=([0-9]*)-([0-9]*)", text)
    if not match or match.groups() == ("", ""):
        return None
    if not match[1]:
        return (max(0, size - int(match[2])) if int(match[2]) else size), size - 1
    first, last = int(match[1]), int(match[2]) if match[2] else max(int(match[1]), size - 1)
    return (first, last) if first <= last else None


def _slice(path: Path, first: int, length: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(first, os.SEEK_SET)
        while chunk := file.read(min(length, BLOCK)):
            length -= len(chunk)
            yield chunk
