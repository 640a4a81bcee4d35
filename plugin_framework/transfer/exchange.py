"""One request and its answer, as the callbacks that curl makes."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import pycurl
from typing_extensions import Buffer

from plugin_framework.errors import (
    LocalFileError,
    SourceChangedError,
    StorageUnreachableError,
)

BODY_LIMIT = 64 * 1024
"""Bytes that are kept of a body nobody wants: an error's, or the answer to a PUT."""

GATHERED = 256 * 1024
"""Bytes of a body that are taken at once: curl brings at most 16 KiB, and each step in Python has
its price."""

THROTTLED = 16 * 1024
"""As ``GATHERED``, and bytes that are sent at once, where the rate is limited."""

POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: header names in lower case; ``body`` is what no sink took, cut at 64 KiB."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return self.status // 100 == 2  # noqa: PLR2004 - 2xx


class Sink(Protocol):
    """Takes a body."""

    def begin(self, answer: Answer) -> bool:
        """Whether to take the body of this answer; called before its first byte, or at its end."""

    def write(self, data: memoryview) -> object:
        """Take the next bytes, which are there during the call only."""


class Digest(Protocol):
    """Is told the bytes that are sent, as those of hashlib and xxhash can be."""

    def update(self, data: bytes, /) -> object:
        """Take the next bytes."""

    def reset(self) -> object:
        """Begin anew."""


@dataclass(frozen=True, slots=True)
class BinaryWindow:
    """``size`` bytes from ``offset`` of an open file; reading it moves no file position."""

    fd: int
    offset: int
    size: int


class Throttle:
    """Spreads a rate, in bytes per second, over all who share it."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_at = 0.0

    def wait(self, count: int, abort: Callable[[], bool]) -> None:
        """Wait until ``count`` more bytes may pass, or ``abort``."""
        with self._lock:
            start = max(time.monotonic(), self._free_at)
            self._free_at = start + count / self._rate
        pause = threading.Event()
        while (left := start - time.monotonic()) > 0 and not abort():
            pause.wait(min(left, POLL_SECONDS))


@dataclass(slots=True)
class Exchange:
    """What one request reads, and what its answer brings. ``error`` is what a callback raised."""

    abort: Callable[[], bool]
    moved: Callable[[int], object] | None = None
    source: BinaryWindow | None = None
    sink: Sink | None = None
    throttle: Throttle | None = None
    digest: Digest | None = None
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    error: Exception | None = None
    cut: bool = False
    _position: int = 0
    _wanted: bool | None = None

    def __post_init__(self) -> None:
        if self.digest is not None:
            self.digest.reset()

    def answer(self) -> Answer:
        """What has come so far."""
        return Answer(self.status, self.headers, bytes(self.body))

    def finish(self, sent: int) -> Answer:
        """The answer, once it is complete: a body may have been empty.

        ``sent``: bytes of the source that have left. A success that came before the last of them
        says nothing of what is stored.
        """
        if self.error is not None:
            raise self.error
        whole = self.source is None or min(sent, self._position) >= self.source.size
        if self.answer().ok and not whole:
            raise StorageUnreachableError("storage answered before it had all that is to be sent")
        if self._wanted is None and self.sink is not None:
            self.sink.begin(self.answer())
        return self.answer()

    def header(self, line: bytes) -> None:
        """Take one header line. A status line starts anew, after a proxy's or a 1xx answer."""
        name, colon, value = line.decode("latin-1").partition(":")
        if line.startswith(b"HTTP/"):
            self.status = int(line.split(maxsplit=2)[1])
            self.headers = {}
        elif colon:
            self.headers[name.strip().lower()] = value.strip()

    def gathering(self) -> io.BufferedWriter:
        """What curl writes the body to, all in C; to be flushed at the end."""
        size = GATHERED if self.throttle is None else THROTTLED
        return io.BufferedWriter(_Body(self.take), size)

    def take(self, data: memoryview) -> None:
        """Take the next bytes of the body. An error ends the transfer at the next ``progress``."""
        if self.ended:
            return
        try:
            if self._wanted is None:
                self._wanted = self.sink is not None and self.sink.begin(self.answer())
            self._take(data)
        except Exception as error:  # noqa: BLE001 - raised again once curl has let go
            self.error = error

    @property
    def ended(self) -> bool:
        """Whether nothing more is wanted of the transfer."""
        return self.cut or self.error is not None

    def _take(self, data: memoryview) -> None:
        if self._wanted and self.sink is not None:
            if self.throttle is not None:
                self.throttle.wait(len(data), self.abort)
            self.sink.write(data)
            return
        self.body += data[: BODY_LIMIT - len(self.body)]
        self.cut = len(self.body) == BODY_LIMIT

    def read(self, size: int) -> bytes | int:
        """The next bytes to send, at most ``size``."""
        assert self.source is not None
        wanted = min(size, self.source.size - self._position)
        if self.throttle is not None:
            wanted = min(wanted, THROTTLED)
            self.throttle.wait(wanted, self.abort)
        try:
            data = os.pread(self.source.fd, wanted, self.source.offset + self._position)
        except OSError as error:
            data, self.error = b"", LocalFileError(f"cannot read the file: {error.strerror}")
        if wanted and not data:
            self.error = self.error or SourceChangedError(
                "the file became shorter while it was sent"
            )
            return int(pycurl.READFUNC_ABORT)
        self._position += len(data)
        if self.digest is not None:
            self.digest.update(data)
        return data

    def seek(self, offset: int, _origin: int) -> int:
        """Go back to the start: curl does when a kept connection turns out to be dead."""
        if offset:
            return int(pycurl.SEEKFUNC_FAIL)
        self._position = 0
        if self.digest is not None:
            self.digest.reset()
        return int(pycurl.SEEKFUNC_OK)

    def progress(self, _to_get: int, _got: int, _to_send: int, sent: int) -> bool:
        """Whether to end the transfer."""
        try:
            if self.moved is not None:
                self.moved(sent)
            return self.ended or self.abort()
        except Exception as error:  # noqa: BLE001 - raised again once curl has let go
            self.error = error
            return True


class _Body(io.RawIOBase):
    """Below the buffer that gathers a body."""

    def __init__(self, take: Callable[[memoryview], None]) -> None:
        self._take = take

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:
        view = memoryview(data)
        self._take(view)
        return view.nbytes
