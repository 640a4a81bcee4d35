"""A storage in memory that answers as an input says, and tells the truth about its bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from fuzz.reading import numbers
from plugin_framework.errors import StorageUnreachableError
from plugin_framework.transfer.engine import EngineOptions
from plugin_framework.transfer.exchange import Answer, BinaryWindow, Digest, Exchange, Sink

MOST = 4096
"""Bytes of an answer."""

_CLAIMED = re.compile(r"bytes ([0-9]{1,9})-([0-9]{1,9})/", re.IGNORECASE)
_REDIRECTED = {307, 308}


def content(start: int, end: int) -> bytes:
    """Bytes of the object, which has as many as one likes; ranges differ, up to 128 KiB."""
    pattern = b"".join((n % 2**16).to_bytes(2, "big") for n in range(start // 2, end // 2 + 1))
    return pattern[start % 2 : start % 2 + max(end - start, 0)]


class Storage:
    """What transfers use of an engine, without a network.

    Each line is an answer: status, how many bytes come, and headers, separated by ``;``. Without
    headers it is an honest one to what was asked. After them, all answers are those of a store that
    works, whose object has ``then`` bytes; without, there are no more. ``taken`` holds the total
    and the ETag of each answer to a range whose bytes were taken.
    """

    def __init__(self, lines: Sequence[bytes], *, then: int | None = None) -> None:
        self.options = EngineOptions(attempts=3, backoff=0.0, concurrency=1)
        self.taken: list[tuple[int, str | None]] = []
        self.sent: bytes = b""
        self.puts: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self._answers: Iterator[bytes] = iter(lines)
        self._then = then

    def get(
        self,
        _url: str,
        *,
        sink: Sink,
        abort: Callable[[], bool],
        start: int | None = None,
        end: int | None = None,
        etag: str | None = None,
    ) -> Answer:
        """See ``Engine.get``."""
        if etag is not None and start is None:
            raise AssertionError("a whole object is asked for with the ETag of another")
        status, count, headers = self._next(start, end, etag)
        exchange = Exchange(abort, sink=sink)
        exchange.header(b"HTTP/1.1 %d OK\r\n" % status)
        first = start or 0
        size = count if end is None else min(count, end - first + 1)
        for line in headers or _honest(status, first, size, count):
            exchange.header(line)
        claimed = _CLAIMED.match(exchange.headers.get("content-range", ""))
        at = int(claimed[1]) if claimed else first if status == 206 else 0
        self.sent = content(at, at + size)
        for offset in range(0, size, 1000):
            exchange.take(memoryview(self.sent[offset : offset + 1000]))
        answer = exchange.finish(0)
        if status == 206 and size:
            total = exchange.headers["content-range"].rpartition("/")[2]
            self.taken.append((int(total), exchange.headers.get("etag")))
        return answer

    def put(
        self,
        url: str,
        source: BinaryWindow,
        abort: Callable[[], bool],
        *,
        moved: Callable[[int], object] | None = None,
        digest: Digest | None = None,
    ) -> Answer:
        """See ``Engine.put``."""
        status, count, headers = self._next(None, None, None)
        exchange = Exchange(abort, moved=moved, source=source, digest=digest)
        body = b""
        while len(body) < min(count, source.size):
            data = exchange.read(1000)
            assert isinstance(data, bytes)
            body += data
        exchange.header(b"HTTP/1.1 %d OK\r\n" % status)
        for line in headers:
            exchange.header(line)
        answer = exchange.finish(len(body))
        self.puts[url], self.etags[url] = body, answer.headers.get("etag", "")
        return answer

    def _next(
        self, start: int | None, end: int | None, etag: str | None
    ) -> tuple[int, int, list[bytes]]:
        line = next(self._answers, None)
        if line is None:
            if self._then is None:
                raise StorageUnreachableError("there is no further answer")
            return _working(self._then, start, end, etag)
        status, count = numbers(line, 2)
        status = 100 + status % 500
        said = line.split(b" ", 2)[2:]
        headers = [header.strip() for header in said[0].split(b";")] if said else []
        headers = [header for header in headers if not header.startswith(b"HTTP/")]
        return (200 if status in _REDIRECTED else status), abs(count) % MOST, headers


def _honest(status: int, first: int, size: int, total: int) -> list[bytes]:
    whole = first + total if status == 206 else size
    named = b"Content-Range: bytes %d-%d/%d" % (first, first + size - 1, whole)
    return [named if status == 206 else b"Content-Length: %d" % size, b'ETag: "a"']


def _working(
    total: int, start: int | None, end: int | None, etag: str | None
) -> tuple[int, int, list[bytes]]:
    """As a store answers whose object has so many bytes, and the ETag ``"a"``."""
    own = b'ETag: "a"'
    if etag not in {None, '"a"'}:
        return 412, 0, [own]
    if start is None:
        return 200, total, [own, b"Content-Length: %d" % total]
    if start >= total:
        return 416, 0, [own, b"Content-Range: bytes */%d" % total]
    last = total - 1 if end is None else min(end, total - 1)
    return 206, last + 1 - start, [own, b"Content-Range: bytes %d-%d/%d" % (start, last, total)]
