"""Send a file to storage: parts in parallel, each retried alone, nothing completed in doubt."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import xxhash

from plugin_framework.errors import (
    LocalFileError,
    RejectedError,
    SourceChangedError,
    TransferError,
)
from plugin_framework.transfer.engine import Engine
from plugin_framework.transfer.exchange import POLL_SECONDS, BinaryWindow
from plugin_framework.transfer.parallel import Width, persist, run_all
from plugin_framework.transfer.plan import MIB, Part, chunk_size_for, parts
from plugin_framework.transfer.refusals import (
    UnsuitableAnswerError,
    UrlExpiredError,
    has_error_document,
    refusal,
)


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part that is in storage: its ETag verbatim, and a digest of the bytes that were sent."""

    etag: str
    digest: str


@dataclass(frozen=True, slots=True)
class UploadSlots:
    """Where the parts go: a URL each, in order.

    ``stored`` holds what an earlier attempt stored, by index from 1: it is not sent again as long
    as the file has the same bytes there. ``completed``: that was all, and it was put together.
    """

    upload_id: str
    urls: Sequence[str] = field(repr=False)
    stored: Mapping[int, StoredPart] = field(default_factory=dict)
    completed: bool = False


class CompletionInDoubtError(TransferError):
    """Completing was refused after an attempt whose outcome is unknown: it may have succeeded."""


class UploadApi(Protocol):
    """What an upload asks of Datahub (PROTOCOL.md, 1.1 and 1.3)."""

    def init(
        self, file_name: str, size: int, chunk_size: int | None, *, resume: bool
    ) -> UploadSlots:
        """Start an upload, or with ``resume`` take up one that was begun, where there is one.

        ``chunk_size`` is None for a single one.
        """

    def keep(self, upload_id: str, index: int, part: StoredPart) -> None:
        """Note that a part is stored; called from worker threads."""

    def complete(self, upload_id: str, parts: Sequence[tuple[int, str]]) -> None:
        """End it: index and ETag of all parts, in order.

        Raises:
            CompletionInDoubtError: it was refused, but may have been done before.
        """


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A file that is in storage: ``sha256`` in hex, None where it was not asked for."""

    name: str
    size: int
    sha256: str | None


def upload_file(
    engine: Engine,
    path: Path,
    *,
    name: str,
    api: UploadApi,
    chunk: int | None = None,
    digest: bool = True,
    progress: Callable[[int, int], None] = lambda _sent, _total: None,
    check: Callable[[], None] = lambda: None,
) -> Uploaded:
    """Send the file at ``path`` to storage as ``name``.

    Args:
        engine: what reaches storage.
        path: a regular file, which must not change meanwhile.
        name: what Datahub is told that it is called.
        api: starts and completes the upload.
        chunk: bytes per part; None: chosen by the size.
        digest: whether to compute the SHA-256 beside the transfer.
        progress: told bytes sent and bytes in all, in the calling thread.
        check: called often in the calling thread. No part starts while it blocks; whatever it
            raises ends the upload.

    Raises:
        LocalFileError: the file cannot be read.
        SourceChangedError: the file changed meanwhile; nothing was completed.
        TransferError: storage did not take it.
    """
    with _opened(path) as fd:
        upload = _Upload(
            engine=engine,
            fd=fd,
            path=path,
            name=name,
            api=api,
            chunk=chunk,
            progress=progress,
            check=check,
        )
        with _hashing(fd, upload.size, wanted=digest) as sha256:
            slots = upload.send()
            hexdigest = upload.await_digest(sha256) if sha256 else None
        try:
            upload.complete(slots)
        except (RejectedError, CompletionInDoubtError) as error:
            if isinstance(error, RejectedError) and not slots.stored:
                raise
            # It may be gone, or complete without our knowing: nothing says so but a new one.
            upload.complete(upload.send_anew())
    return Uploaded(name, upload.size, hexdigest)


@dataclass(kw_only=True)
class _Upload:
    """One upload under way."""

    engine: Engine
    fd: int
    path: Path
    name: str
    api: UploadApi
    chunk: int | None
    progress: Callable[[int, int], None]
    check: Callable[[], None]

    def __post_init__(self) -> None:
        self._before = os.fstat(self.fd)
        self.size = self._before.st_size
        self.chunk = chunk_size_for(self.size, self.chunk)
        self._parts = parts(self.size, self.chunk)
        self._width = Width(self.engine.options.concurrency)
        self._sent: dict[int, int] = {}
        self._etags: dict[int, str] = {}

    def send(self) -> UploadSlots:
        """Send what is missing, with fresh URLs once if storage says that they have expired."""
        slots = self._init(resume=True)
        if not self._has_the_same(slots.stored):
            return self.send_anew()
        self._adopt(slots)
        try:
            self._send(slots)
        except UrlExpiredError:
            return self.send_anew(slots)
        return slots

    def send_anew(self, before: UploadSlots | None = None) -> UploadSlots:
        """Send all parts to a new upload; only those that are missing, if it is the one before."""
        slots = self._init(resume=False)
        if before is None or slots.upload_id != before.upload_id:
            self._etags.clear()
        self._adopt(slots)
        self._send(slots)
        return slots

    def await_digest(self, sha256: Future[str]) -> str:
        """The digest, once it is there."""
        while not sha256.done():
            wait([sha256], POLL_SECONDS)
            self.check()
        return sha256.result()

    def complete(self, slots: UploadSlots) -> None:
        """End the upload, unless the file has changed since it began."""
        if slots.completed:
            return
        after = os.fstat(self.fd)
        before = self._before
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise SourceChangedError(f"{self.path} changed while it was sent")
        self.api.complete(slots.upload_id, sorted(self._etags.items()))

    def _init(self, *, resume: bool) -> UploadSlots:
        slots = self.api.init(self.name, self.size, self.chunk, resume=resume)
        if len(slots.urls) != len(self._parts) and not slots.completed:
            raise TransferError(
                f"{self.name} has {len(self._parts)} parts, but Datahub gave"
                f" {len(slots.urls)} URLs for them"
            )
        return slots

    def _has_the_same(self, stored: Mapping[int, StoredPart]) -> bool:
        """Whether the file still has the bytes that are stored: all of them, not only a prefix."""
        for part in self._parts:
            self.check()
            known = stored.get(part.index)
            if known is not None and known.digest != _fingerprint(self.fd, part):
                return False
        return True

    def _adopt(self, slots: UploadSlots) -> None:
        """Take over what is stored already; whatever else was sent is to be sent again."""
        self._etags.update({index: part.etag for index, part in slots.stored.items()})
        self._sent = {part.index: part.size for part in self._parts if part.index in self._etags}

    def _send(self, slots: UploadSlots) -> None:
        def send(part: Part, stop: threading.Event) -> None:
            etag = persist(
                lambda: self._put(slots.urls[part.index - 1], part, stop),
                options=self.engine.options,
                stop=stop,
                width=self._width,
            )
            self._sent[part.index] = part.size
            self._etags[part.index] = etag
            stored = StoredPart(etag, _fingerprint(self.fd, part))
            self.api.keep(slots.upload_id, part.index, stored)

        missing = [part for part in self._parts if part.index not in self._etags]
        run_all(missing, send, width=self._width, tick=self._tick)

    def _put(self, url: str, part: Part, stop: threading.Event) -> str:
        answer = self.engine.put(
            url,
            BinaryWindow(self.fd, part.offset, part.size),
            stop.is_set,
            moved=lambda count: self._sent.__setitem__(part.index, count),
        )
        if not answer.ok or has_error_document(answer):
            raise refusal(answer, url)
        etag = answer.headers.get("etag")
        if not etag:
            raise UnsuitableAnswerError(f"storage gave no ETag for part {part.index}")
        return etag

    def _tick(self) -> None:
        self.progress(sum(self._sent.copy().values()), self.size)
        self.check()


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A descriptor of a regular file, to read from."""
    try:
        # O_NONBLOCK: opening a named pipe would wait for its writer.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise LocalFileError(f"cannot read {path}: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise LocalFileError(f"cannot read {path}: it is not a regular file")
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _hashing(fd: int, size: int, *, wanted: bool) -> Iterator[Future[str] | None]:
    """The file's SHA-256, computed meanwhile: it takes longer than TLS does, so not by senders."""
    if not wanted:
        yield None
        return
    stop = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="digest") as pool:
        try:
            yield pool.submit(_sha256, fd, size, stop)
        finally:
            stop.set()


def _fingerprint(fd: int, part: Part) -> str:
    """A fast digest of a part's bytes, to tell whether they have changed; no cryptographic one."""
    digest = xxhash.xxh3_128()
    for offset in range(part.offset, part.end, MIB):
        digest.update(os.pread(fd, min(MIB, part.end - offset), offset))
    return digest.hexdigest()


def _sha256(fd: int, size: int, stop: threading.Event) -> str:
    digest = hashlib.sha256()
    for offset in range(0, size, MIB):
        try:
            data = os.pread(fd, min(MIB, size - offset), offset)
        except OSError as error:
            raise LocalFileError(f"cannot read the file: {error.strerror}") from error
        if stop.is_set() or not data:
            raise SourceChangedError("the file became shorter while it was sent")
        digest.update(data)
    return digest.hexdigest()
