"""One object in storage, read by ranges, with every answer checked against the first."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

from plugin_framework.errors import ObjectChangedError, TransferError
from plugin_framework.transfer.engine import Engine
from plugin_framework.transfer.exchange import BODY_LIMIT, Answer, Sink
from plugin_framework.transfer.parallel import Tally, Width, persist
from plugin_framework.transfer.refusals import (
    UnsuitableAnswerError,
    UrlExpiredError,
    has_error_document,
    is_transient,
    refusal,
)

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.IGNORECASE)
_NO_RANGE = "storage refuses a range from the start of an object"
_LENGTH = re.compile(r"\d{1,18}")
_EMPTY = re.compile(r"bytes \*/0", re.IGNORECASE)

T = TypeVar("T")

WHOLE, PARTIAL, CHANGED, OUT_OF_RANGE = 200, 206, 412, 416


class _UrlRefusedError(Exception):
    """A fresh one is to be had, while no place is taken."""


class RangeIgnoredError(TransferError):
    """Storage does not serve ranges of this object."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the first answer said: bytes in all, and the ETag verbatim.

    ``modified`` is the date it gave, where there is no ETag.
    """

    size: int
    etag: str | None
    modified: str | None = None

    @classmethod
    def of(cls, size: int, answer: Answer) -> Facts:
        """Those of an answer."""
        etag = answer.headers.get("etag")
        return cls(size, etag, None if etag else answer.headers.get("last-modified"))


class StorageObject:
    """An object behind presigned URLs. Safe to use from several threads.

    ``facts`` is None until the first range has begun to arrive, and ``size`` while it is not known.
    """

    def __init__(
        self,
        engine: Engine,
        presign: Callable[[], str],
        *,
        width: Width,
        tally: Tally | None = None,
    ) -> None:
        self.facts: Facts | None = None
        self.size: int | None = None
        self._engine = engine
        self._presign = presign
        self._width = width
        self._tally = tally
        self._lock = threading.Lock()
        self._presigning = threading.Lock()
        self._url: str | None = None
        self._last_chance = False

    def fetch(
        self,
        start: int,
        size: int,
        write: Callable[[memoryview], object],
        *,
        stop: threading.Event,
        moved: Callable[[int], object] | None = None,
    ) -> None:
        """Write at most ``size`` bytes from ``start``, fewer only at the object's end.

        What has arrived when a connection breaks is kept, and the rest asked for.

        Raises:
            ObjectChangedError: the object is another than at the first fetch.
            RangeIgnoredError: storage answers with the whole object.
            StorageError: it refuses.
        """
        sink = _RangeSink(self, start, start + size, write, moved)
        while sink.position < sink.end:
            self._persist(lambda: self._attempt(sink, stop), stop)

    def fetch_whole(
        self,
        file: BinaryIO,
        *,
        stop: threading.Event,
        moved: Callable[[int], object] | None = None,
    ) -> Facts:
        """Write the whole object to ``file``, from its start at each attempt."""

        def attempt() -> Facts:
            file.seek(0)
            file.truncate()
            sink = _WholeSink(self, file.write, moved)
            answer = self._get(sink, stop, None, None)
            if sink.suspect:
                file.write(answer.body)
                sink.received = len(answer.body)
            return Facts.of(sink.received, answer)

        return self._persist(attempt, stop)

    def agree(self, facts: Facts) -> None:
        """Take the facts, or see that they are those of the first answer."""
        with self._lock:
            self.facts = self.facts or facts
            self.size = self.facts.size
            if self.facts != facts:
                raise ObjectChangedError("the object in storage changed while it was read")

    def _persist(self, attempt: Callable[[], T], stop: threading.Event) -> T:
        while True:
            self._have_url()  # not in a place: Datahub may be slow, and others have their URLs
            try:
                return persist(
                    attempt,
                    options=self._engine.options,
                    stop=stop,
                    width=self._width,
                    tally=self._tally,
                )
            except _UrlRefusedError:
                pass

    def _attempt(self, sink: _RangeSink, stop: threading.Event) -> None:
        before = sink.position
        try:
            answer = self._get(sink, stop, sink.position, sink.end - 1)
        except TransferError as error:
            if sink.position == before or not is_transient(error):
                raise
            return  # some of it came: the rest is a new request, with new patience
        if answer.status == OUT_OF_RANGE:
            self._out_of_range(answer, sink, stop)
        elif sink.position == before:
            raise UnsuitableAnswerError("storage answers a range with nothing")

    def _out_of_range(self, answer: Answer, sink: _RangeSink, stop: threading.Event) -> None:
        if self.facts is not None:
            raise ObjectChangedError("the object in storage became shorter while it was read")
        if not _EMPTY.fullmatch(answer.headers.get("content-range", "")):
            # Not every store says so of an empty object: the whole of it tells.
            answer = self._get(_NothingSink(), stop, None, None)
        self.agree(Facts.of(0, answer))
        sink.end = 0

    def _get(
        self,
        sink: Sink,
        stop: threading.Event,
        start: int | None,
        end: int | None,
    ) -> Answer:
        url = self._url
        if url is None:
            raise _UrlRefusedError
        etag = self.facts.etag if self.facts else None
        # If-Match compares strongly: a weak ETag would never match (RFC 9110, 13.1.1).
        strong = None if etag is None or etag.startswith("W/") else etag
        answer = self._engine.get(
            url, start=start, end=end, etag=strong, sink=sink, abort=stop.is_set
        )
        if answer.status == CHANGED:
            raise ObjectChangedError("the object in storage changed while it was read")
        fine = answer.ok and not has_error_document(answer)
        if fine or (answer.status == OUT_OF_RANGE and start is not None):
            self._worked(url)
            return answer
        error = refusal(answer, url)
        if isinstance(error, UrlExpiredError) and self._may_renew(url):
            raise _UrlRefusedError
        raise error

    def _have_url(self) -> None:
        with self._presigning:
            if self._url is None:
                self._url = self._presign()

    def _worked(self, url: str) -> None:
        with self._lock:
            self._last_chance = self._last_chance and url != self._url

    def _may_renew(self, refused: str) -> bool:
        """Whether there is another URL to try. A fresh one that has yet to work is the last."""
        with self._lock:
            if self._url == refused:
                if self._last_chance:
                    return False
                self._url = None
                self._last_chance = True
            return True


class _RangeSink:
    """Takes the bytes from ``position`` up to ``end``, if they are those that were asked for."""

    def __init__(
        self,
        source: StorageObject,
        start: int,
        end: int,
        write: Callable[[memoryview], object],
        moved: Callable[[int], object] | None,
    ) -> None:
        self.position = start
        self.end = end
        self._until = start
        self._start = start
        self._source = source
        self._write = write
        self._moved = moved

    def begin(self, answer: Answer) -> bool:
        if answer.status == WHOLE:
            raise RangeIgnoredError("storage answers a range with the whole object")
        if answer.status != PARTIAL:
            return False
        match = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
        if match is None:
            raise UnsuitableAnswerError("storage does not say which range it answers with")
        first, last, total = map(int, match.groups())
        self._source.agree(Facts.of(total, answer))
        if first != self.position or not first <= last < min(self.end, total):
            raise UnsuitableAnswerError("storage answers with another range than was asked for")
        self.end = min(self.end, total)
        self._until = last + 1
        return True

    def write(self, data: memoryview) -> None:
        if self.position + len(data) > self._until:
            raise UnsuitableAnswerError("storage sends more than the range that was asked for")
        self._write(data)
        self.position += len(data)
        if self._moved is not None:
            self._moved(self.position - self._start)


class _NothingSink:
    """Takes an empty object, and no other."""

    def begin(self, answer: Answer) -> bool:
        if not answer.ok:
            return False
        length = answer.headers.get("content-length")
        if length != "0" and "transfer-encoding" not in answer.headers:
            raise RangeIgnoredError(_NO_RANGE)
        return True

    def write(self, data: memoryview) -> None:
        if data:
            raise RangeIgnoredError(_NO_RANGE)


class _WholeSink:
    """Takes a whole object, if its end can be told from a broken connection's.

    A small document in XML without an ETag is ``suspect``: it is left to the caller, for it may be
    an error, and no object.
    """

    def __init__(
        self,
        source: StorageObject,
        write: Callable[[memoryview], object],
        moved: Callable[[int], object] | None,
    ) -> None:
        self.received = 0
        self.suspect = False
        self._source = source
        self._write = write
        self._moved = moved

    def begin(self, answer: Answer) -> bool:
        if not answer.ok:
            return False
        if answer.status != WHOLE:
            raise UnsuitableAnswerError("storage answers with a range that was not asked for")
        if not {"content-length", "transfer-encoding"} & answer.headers.keys():
            raise UnsuitableAnswerError("storage does not say where the object ends")
        length = answer.headers.get("content-length", "")
        self._source.size = int(length) if _LENGTH.fullmatch(length) else None
        self.suspect = (
            "etag" not in answer.headers
            and "xml" in answer.headers.get("content-type", "")
            and self._source.size is not None
            and self._source.size < BODY_LIMIT
        )
        return not self.suspect

    def write(self, data: memoryview) -> None:
        self._write(data)
        self.received += len(data)
        if self._moved is not None:
            self._moved(self.received)
