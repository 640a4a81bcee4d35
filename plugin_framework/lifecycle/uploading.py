"""What one subtask uploads: by hand, while it is written, and what its work left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from plugin_framework.errors import DatahubError, LocalFileError, RejectedError, RetryableError
from plugin_framework.journal.uploads import KeptPart, KeptUpload, Output
from plugin_framework.lifecycle.clock import REAL, Clock
from plugin_framework.lifecycle.patience import persist
from plugin_framework.lifecycle.supervisor import RunUploads
from plugin_framework.plugin.context import UploadedFile
from plugin_framework.protocol.client import DatahubClient
from plugin_framework.protocol.models import CompletedPart, UploadCompletion, UploadRequest
from plugin_framework.settings import TransferSettings
from plugin_framework.transfer.digest import md5_of
from plugin_framework.transfer.engine import Engine
from plugin_framework.transfer.exchange import POLL_SECONDS
from plugin_framework.transfer.parallel import Reins, Tally, Width, run_all
from plugin_framework.transfer.plan import parts
from plugin_framework.transfer.upload import (
    CompletionInDoubtError,
    Growing,
    StoredPart,
    UploadSlots,
    upload_file,
)

FILES_PER_PART = 4
"""Files that are under way for each part that may be: a file of one part makes two calls of
Datahub's API beside it, and waits for the disk."""

MOST_FILES = 32
"""Files under way at the most: so many connections to Datahub are kept."""

T = TypeVar("T")
Transferred = Callable[[str, str, int, int], None]
"""Told of a transfer: direction, name, bytes sent, bytes in all."""
Transfer = Callable[[str, str], AbstractContextManager[Tally]]
"""Goes around a transfer of that direction and name, which counts its parts."""


class Patient(Protocol):
    """What uploads need of the run they belong to; see ``host.Owner``."""

    stopped: threading.Event
    patience: float
    clock: Clock

    def check(self) -> None:
        """Wait while the task is paused; raise TaskCancelled if it is to stop."""


@dataclass(frozen=True, slots=True)
class Going:
    """How an upload is to go on.

    ``check`` waits while it is held, and raises what is to end it; ``wait`` waits for so many
    seconds of the clock, or until then.
    """

    check: Callable[[], None]
    wait: Callable[[float], object]
    clock: Clock = REAL

    def patiently(self, call: Callable[[], T], patience: float) -> T:
        """Make a call to Datahub, again and again if need be, for so many seconds.

        An outage must not fail work that is half done: it has the patience that its result has.
        """

        def attempt() -> T:
            self.check()
            return call()

        def ended(seconds: float) -> bool:
            self.clock.wait(self.wait, self.clock.now() + seconds)
            return False

        return persist(attempt, patience, ended, self.clock)


class Uploads:
    """All uploads of one subtask. Safe to use from several threads.

    Their parts share one width, and what is stored is in the journal. Of one name there is one
    upload at a time, for the journal keeps one: who comes later waits.
    """

    def __init__(
        self,
        subtask_id: str,
        *,
        owner: Patient,
        client: DatahubClient,
        log: RunUploads,
        engine: Engine,
        settings: TransferSettings,
        transferred: Transferred,
        transfer: Transfer = lambda _direction, _name: nullcontext(Tally()),
    ) -> None:
        self._subtask_id = subtask_id
        self._owner = owner
        self._client = client
        self._log = log
        self._engine = engine
        self._settings = settings
        self._transferred = transferred
        self._transfer = transfer
        self._width = Width(engine.options.concurrency)
        self._stored: set[tuple[Path, int, int]] = set()
        self._names: dict[str, threading.Lock] = {}

    def stored(self) -> list[UploadedFile]:
        """All that is in storage, by name, whichever attempt put it there."""
        return [
            UploadedFile(each.name, each.size, each.sha256)
            for each in self._log.outputs(self._subtask_id)
        ]

    def one(self, path: Path, name: str) -> UploadedFile:
        """Store a file; the journal has it on disk when this returns.

        Raises:
            TransferError: it cannot be read, or storage does not take it.
        """
        return self._store(
            path, name, Going(self._owner.check, self._owner.stopped.wait, self._owner.clock)
        )

    def growing(self, path: Path, name: str, file: Growing, going: Going) -> UploadedFile:
        """Store a file while it is written."""
        return self._store(path, name, going, growing=file)

    def rest(
        self, folder: Path, moved: Callable[[float], None], *, check: Callable[[], None]
    ) -> None:
        """Store the files below a folder that are not stored yet, many at once.

        ``moved`` is told the share (0 to 1) that is in storage, in the calling thread; nothing
        starts while ``check`` blocks. The first error ends it, and names its file.

        Raises:
            DatahubError: something is no file, cannot be read, or cannot be stored.
        """
        left = [path for path in _files_in(folder) if _identity(path) not in self._stored]
        if not left:
            return
        batch = _Batch(left)

        def store(path: Path, reins: Reins) -> None:
            name = path.relative_to(folder).as_posix()
            count = batch.counter()
            reins.checkpoint()
            with _naming(name):
                self._store(
                    path,
                    name,
                    Going(reins.checkpoint, reins.wait, self._owner.clock),
                    reins=reins,
                    moved=count,
                )
            count(batch.weight(path))

        def tick() -> None:
            moved(batch.share)
            check()

        files = min(FILES_PER_PART * self._width.most, MOST_FILES)
        run_all(left, store, width=Width(files), tick=tick)

    def _store(
        self,
        path: Path,
        name: str,
        going: Going,
        *,
        reins: Reins | None = None,
        growing: Growing | None = None,
        moved: Callable[[int], None] = lambda _count: None,
    ) -> UploadedFile:
        def progress(count: int, total: int) -> None:
            moved(count)
            self._transferred("upload", name, count, total)

        api = self._api(path, name, going, md5=self._settings.send_md5 and growing is None)
        with self._alone(name, going.check), self._transfer("upload", name) as tally:
            try:
                identity = _identity(path)
            except OSError as error:
                raise LocalFileError(f"{path} cannot be uploaded: {error.strerror}") from None
            done = upload_file(
                self._engine,
                path,
                name=name,
                chunk=self._settings.chunk_size,
                api=api,
                digest=self._settings.digest == "sha256",
                width=self._width,
                growing=growing,
                reins=reins,
                progress=progress,
                check=going.check,
                tally=tally,
            )
            output = Output(done.name, done.size, done.sha256)
            self._log.complete(self._subtask_id, output, api.upload_id, durable=reins is None)
        self._stored.add(identity)
        return UploadedFile(done.name, done.size, done.sha256)

    @contextmanager
    def _alone(self, name: str, check: Callable[[], None]) -> Iterator[None]:
        lock = self._names.setdefault(name, threading.Lock())
        while not lock.acquire(timeout=POLL_SECONDS):
            check()
        try:
            yield
        finally:
            lock.release()

    def _api(self, path: Path, name: str, going: Going, *, md5: bool) -> _UploadApi:
        return _UploadApi(
            self._client,
            self._log,
            self._subtask_id,
            name,
            call=lambda attempt: going.patiently(attempt, self._owner.patience),
            check=going.check,
            md5=(lambda: md5_of(path, going.check)) if md5 else lambda: None,
        )


class Call(Protocol):
    """Makes a call to Datahub until it succeeds, or is to end."""

    def __call__(self, attempt: Callable[[], T], /) -> T:
        """What the call returns."""


class _UploadApi:
    """Datahub's upload calls, as transfers want them, with what is stored in the journal.

    ``upload_id`` is that of the last one begun or taken up.
    """

    def __init__(
        self,
        client: DatahubClient,
        log: RunUploads,
        subtask_id: str,
        name: str,
        *,
        call: Call,
        check: Callable[[], None],
        md5: Callable[[], str | None],
    ) -> None:
        self.upload_id = ""
        self._client = client
        self._log = log
        self._subtask_id = subtask_id
        self._name = name
        self._call = call
        self._check = check
        self._md5 = md5
        self._several = False

    def init(
        self, file_name: str, size: int, chunk_size: int | None, *, resume: bool
    ) -> UploadSlots:
        self._several = chunk_size is not None
        kept = self._log.find(self._subtask_id, file_name) if resume else None
        if kept is not None and _fits(kept, size, chunk_size or 0):
            self.upload_id = kept.upload_id
            stored = {index: StoredPart(p.etag, p.digest) for index, p in kept.parts.items()}
            return UploadSlots(
                kept.upload_id, kept.urls, stored, kept.completed, kept.part_size or None
            )
        request = UploadRequest(
            subtask_id=self._subtask_id,
            file_name=file_name,
            file_size=size,
            chunk_size=chunk_size,
            file_md5=self._md5(),
        )
        ticket = self._call(lambda: self._client.upload_init(request, patience=0))
        self._check()  # the answer may have come when nobody waits for it any more
        self.upload_id = ticket.upload_id
        urls = [part.url.get_secret_value() for part in ticket.part_upload_urls]
        self._log.begin(
            self._subtask_id,
            file_name,
            upload_id=ticket.upload_id,
            size=size,
            chunk=chunk_size or 0,
            part_size=ticket.chunk_size or 0,
            urls=urls,
        )
        return UploadSlots(ticket.upload_id, urls, part_size=ticket.chunk_size or None)

    def keep(self, upload_id: str, index: int, part: StoredPart) -> None:
        kept = KeptPart(part.etag, part.digest)
        self._log.keep(self._subtask_id, self._name, upload_id, index, kept, several=self._several)

    def complete(self, upload_id: str, parts: Sequence[tuple[int, str]]) -> None:
        done = tuple(CompletedPart(index=index, etag=etag) for index, etag in parts)
        completion = UploadCompletion(upload_id=upload_id, subtask_id=self._subtask_id, parts=done)
        in_doubt = False

        def attempt() -> None:
            nonlocal in_doubt
            try:
                self._client.upload_complete(completion, patience=0)
            except RetryableError as error:
                in_doubt = in_doubt or error.unknown_outcome
                raise
            except RejectedError as error:
                if in_doubt:
                    raise CompletionInDoubtError(str(error)) from None
                raise

        self._call(attempt)


def _fits(kept: KeptUpload, size: int, chunk: int) -> bool:
    """Whether an upload can be gone on with; one that is complete has all its parts."""
    if (kept.size, kept.chunk) != (size, chunk):
        return False
    layout = parts(size, kept.part_size or chunk or None)
    return not kept.completed or kept.parts.keys() == {part.index for part in layout}


class _Batch:
    """How much of several files is in storage; an empty one counts as a byte."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._weights = {path: max(path.stat().st_size, 1) for path in files}
        self._total = sum(self._weights.values())
        self._sent = 0
        self._lock = threading.Lock()

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return min(self._sent / self._total, 1.0)

    def weight(self, path: Path) -> int:
        """What a file counts for once it is stored."""
        return self._weights[path]

    def counter(self) -> Callable[[int], None]:
        """What is to be told how many bytes of one file have been sent; they may become fewer."""
        before = 0

        def count(sent: int) -> None:
            nonlocal before
            with self._lock:
                self._sent += sent - before
                before = sent

        return count


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Have what is raised begin with the file's name, unless it names it already."""
    try:
        yield
    except DatahubError as error:
        if name not in str(error):
            error.args = (f"{name}: {error}", *error.args[1:])
        raise


def _files_in(folder: Path) -> list[Path]:
    """All files below a folder, in order.

    Raises:
        LocalFileError: something there is no file, and would not be stored.
    """
    found = sorted(folder.rglob("*"))
    for path in found:
        if not path.is_file() and (path.is_symlink() or not path.is_dir()):
            name = path.relative_to(folder)
            raise LocalFileError(f"{name} in the output folder is neither a file nor a folder")
    return [path for path in found if path.is_file()]


def _identity(path: Path) -> tuple[Path, int, int]:
    facts = path.stat()
    return path.parent.resolve() / path.name, facts.st_size, facts.st_mtime_ns
