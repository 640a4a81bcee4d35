"""Send a file to storage: parts in parallel, each retried alone, nothing completed in doubt."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import xxhash

from plugin_framework.errors import (
    LocalFileError,
    RejectedError,
    SourceChangedError,
    TransferError,
)
from plugin_framework.transfer.digest import READ_AHEAD, fingerprint, hashing
from plugin_framework.transfer.engine import Engine
from plugin_framework.transfer.exchange import POLL_SECONDS, BinaryWindow, Digest
from plugin_framework.transfer.parallel import Reins, Tally, Width, persist, run_all
from plugin_framework.transfer.plan import Part, chunk_size_for, parts, parts_for
from plugin_framework.transfer.refusals import (
    UnsuitableAnswerError,
    UrlExpiredError,
    has_error_document,
    refusal,
)
from plugin_framework.transfer.renewals import Renewals

DIGEST_BEHIND = 2
"""Parts that a digest may be behind what is sent: the processor's time is shared out fairly."""


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
    ``part_size`` is in bytes, where Datahub chose another than it was asked for.
    """

    upload_id: str
    urls: Sequence[str] = field(repr=False)
    stored: Mapping[int, StoredPart] = field(default_factory=dict)
    completed: bool = False
    part_size: int | None = None


@dataclass(frozen=True, slots=True)
class Growing:
    """A file that is still written, from its start to its end: it is to have ``size`` bytes.

    ``whole`` is set once it has them, and will not change any more.
    """

    size: int
    whole: threading.Event


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
    width: Width | None = None,
    growing: Growing | None = None,
    reins: Reins | None = None,
    progress: Callable[[int, int], None] = lambda _sent, _total: None,
    check: Callable[[], None] = lambda: None,
    tally: Tally | None = None,
) -> Uploaded:
    """Send the file at ``path`` to storage as ``name``.

    Args:
        engine: what reaches storage.
        path: a regular file, which must not change meanwhile, except as ``growing`` says. A change
            through a memory map that had been written to before leaves no trace in the file's
            dates, and is not noticed.
        name: what Datahub is told that it is called.
        api: starts and completes the upload.
        chunk: bytes per part; None: chosen by the size.
        digest: whether to compute the SHA-256 beside the transfer.
        width: how many parts may be under way, where other files share it.
        growing: the file is still written; its parts are sent as they fill.
        reins: what holds and stops this one among several files. A file of one part then needs no
            thread but the caller's.
        progress: told bytes sent and bytes in all, in the calling thread.
        check: called often in the calling thread. No part starts while it blocks; whatever it
            raises ends the upload.
        tally: counts parts.

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
            width=width or Width(engine.options.concurrency),
            growing=growing,
            reins=reins,
            progress=progress,
            check=check,
            tally=tally,
        )
        if not digest:
            upload.digested(upload.size)
            return upload.run(lambda: None)
        with hashing(fd, upload.size, limit=upload.readable, moved=upload.digested) as sha256:
            return upload.run(lambda: upload.wait_for(sha256()))


@dataclass(kw_only=True)
class _Upload:
    """One upload under way."""

    engine: Engine
    fd: int
    path: Path
    name: str
    api: UploadApi
    chunk: int | None
    width: Width
    growing: Growing | None
    reins: Reins | None
    progress: Callable[[int, int], None]
    check: Callable[[], None]
    tally: Tally | None

    def __post_init__(self) -> None:
        self._before = os.fstat(self.fd)
        self.size = self.growing.size if self.growing else self._before.st_size
        self.chunk = chunk_size_for(self.size, self.chunk)
        self._parts: list[Part] = []
        self._sent: dict[int, int] = {}
        self._sent_in_all = 0
        self._stored: dict[int, StoredPart] = {}
        self._sha256: str | None = None
        self._digested = 0

    def run(self, digest: Callable[[], str | None]) -> Uploaded:
        """Send all parts, wait for ``digest``, and complete the upload."""
        slots = self._send_all(resume=True)
        self._sha256 = digest()
        self._await_whole()
        try:
            self._complete(slots)
        except (RejectedError, CompletionInDoubtError) as error:
            if isinstance(error, RejectedError) and not slots.stored:
                raise
            # It may be gone, or complete without our knowing: nothing says so but a new one.
            self._complete(self._send_all(resume=False))
        return Uploaded(self.name, self.size, self._sha256)

    def readable(self) -> int:
        """Up to which byte the digest may read."""
        return min(self._written(), self._sent_in_all + READ_AHEAD)

    def digested(self, end: int) -> None:
        """Note how far the digest has read."""
        self._digested = end

    def wait_for(self, future: Future[str]) -> str:
        """Its result, once it is done."""
        while not future.done():
            wait([future], POLL_SECONDS)
            self.check()
        return future.result()

    def _written(self) -> int:
        return os.fstat(self.fd).st_size if self.growing else self.size

    def _await_whole(self) -> None:
        """Return once the file grows no more; from then on it is one as any other."""
        if self.growing is not None:
            while not self.growing.whole.wait(POLL_SECONDS):
                self.check()
            self.growing, self._before = None, os.fstat(self.fd)

    def _send_all(self, *, resume: bool) -> UploadSlots:
        """Send what is missing, with fresh URLs whenever storage says that they have expired."""
        slots = self._init(resume=resume)
        if slots.completed:
            self._await_whole()
        if not self._has_the_same(slots.stored):
            slots = self._init(resume=False)
        renewals = Renewals(self.name)
        self._stored.clear()
        while True:
            self._adopt(slots)
            before = len(self._stored)
            try:
                self._send(slots)
            except UrlExpiredError as error:
                stored = sum(part.size for part in self._parts if part.index in self._stored)
                renewals.allow(
                    error, new=len(self._stored) > before, share=stored / max(self.size, 1)
                )
            else:
                return slots
            old, layout = slots, self._parts
            slots = self._init(resume=False)
            if slots.upload_id != old.upload_id or self._parts != layout:
                self._stored.clear()
            else:
                slots = replace(slots, stored=old.stored)

    def _complete(self, slots: UploadSlots) -> None:
        """End the upload, unless the file has changed since it began."""
        if slots.completed:
            return
        if not self._is_unchanged():
            raise SourceChangedError(f"{self.path} changed while it was sent")
        etags = [(index, part.etag) for index, part in sorted(self._stored.items())]
        self.api.complete(slots.upload_id, etags)

    def _is_unchanged(self) -> bool:
        """Whether the file is as it was sent and digested.

        Another ctime alone may be a new name or mode, or a change whose mtime was put back: then
        the bytes decide.
        """
        before, after = self._before, os.fstat(self.fd)
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            return False
        if after.st_ctime_ns == before.st_ctime_ns:
            return True
        if not self._has_the_same(self._stored):
            return False
        if self._sha256 is None:
            return True
        with hashing(self.fd, self.size, limit=lambda: self.size) as again:
            return self.wait_for(again()) == self._sha256

    def _init(self, *, resume: bool) -> UploadSlots:
        slots = self.api.init(self.name, self.size, self.chunk, resume=resume)
        size = slots.part_size or self.chunk
        try:
            self._parts = (
                parts(self.size, size)
                if slots.completed
                else parts_for(self.size, size, len(slots.urls))
            )
        except TransferError as error:
            raise TransferError(f"{self.name}: {error}") from None
        return slots

    def _has_the_same(self, stored: Mapping[int, StoredPart]) -> bool:
        """Whether the file still has the bytes that are stored: all of them, not only a prefix.

        One that is still written is compared part by part, as they fill.
        """
        for part in self._parts if self.growing is None else ():
            self.check()
            known = stored.get(part.index)
            if known is not None and known.digest != fingerprint(self.fd, part):
                return False
        return True

    def _adopt(self, slots: UploadSlots) -> None:
        """Take over what is stored already; whatever else was sent is to be sent again."""
        if self.growing is None:
            indexes = slots.stored.keys() & {part.index for part in self._parts}
            self._stored.update({index: slots.stored[index] for index in indexes})
        self._sent = {part.index: part.size for part in self._parts if part.index in self._stored}

    def _send(self, slots: UploadSlots) -> None:
        def send(part: Part, stop: Reins) -> None:
            known = slots.stored.get(part.index)
            if known is None or known.digest != fingerprint(self.fd, part):
                known = self._put(slots.urls[part.index - 1], part, stop)
                self.api.keep(slots.upload_id, part.index, known)
            self._sent[part.index] = part.size
            self._stored[part.index] = known

        missing = [part for part in self._parts if part.index not in self._stored]
        if self.reins is not None and len(missing) == len(self._parts) == 1 and not self.growing:
            send(missing[0], self.reins)
            self._tick()
            return
        run_all(
            missing,
            send,
            width=self.width,
            tick=self._tick,
            ready=lambda part: self._is_ready(part, missing[0].offset),
        )

    def _is_ready(self, part: Part, begun: int) -> bool:
        """Whether it is written, and the digest not far behind what was sent from ``begun``.

        Where both take what the processor gives, they are to end together.
        """
        due = part.offset - begun - DIGEST_BEHIND * part.size
        return part.end <= self._written() and due <= self._digested

    def _put(self, url: str, part: Part, stop: Reins) -> StoredPart:
        digest = xxhash.xxh3_128()
        etag = persist(
            lambda: self._put_once(url, part, digest, stop),
            options=self.engine.options,
            stop=stop,
            width=self.width,
            tally=self.tally,
        )
        return StoredPart(etag, digest.hexdigest())

    def _put_once(self, url: str, part: Part, digest: Digest, stop: Reins) -> str:
        answer = self.engine.put(
            url,
            BinaryWindow(self.fd, part.offset, part.size),
            stop.is_set,
            moved=lambda count: self._sent.__setitem__(part.index, count),
            digest=digest,
        )
        if not answer.ok or has_error_document(answer):
            raise refusal(answer, url)
        etag = answer.headers.get("etag")
        if not etag:
            raise UnsuitableAnswerError(f"storage gave no ETag for part {part.index}")
        return etag

    def _tick(self) -> None:
        self._sent_in_all = sum(self._sent.copy().values())
        self.progress(self._sent_in_all, self.size)
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
