"""The supervisor's side of a context: transfers, progress, state, and the ending of one task."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from plugin_framework.errors import LocalFileError, RejectedError, RetryableError
from plugin_framework.isolation.session import Ending, Verdict
from plugin_framework.journal.journal import Journal
from plugin_framework.journal.uploads import KeptPart, UploadLog
from plugin_framework.lifecycle.folders import safe_file_name
from plugin_framework.lifecycle.patience import persist
from plugin_framework.lifecycle.progress import Progress
from plugin_framework.plugin.context import UploadedFile
from plugin_framework.plugin.input_file import BLOCK, SPAN
from plugin_framework.protocol.client import DatahubClient
from plugin_framework.protocol.models import (
    CompletedPart,
    DownloadTicket,
    TaskStatus,
    UploadCompletion,
    UploadRequest,
)
from plugin_framework.settings import TransferSettings
from plugin_framework.transfer.download import download_file
from plugin_framework.transfer.engine import Engine
from plugin_framework.transfer.remote_file import RemoteFile
from plugin_framework.transfer.upload import (
    CompletionInDoubtError,
    StoredPart,
    UploadSlots,
    upload_file,
)

log = logging.getLogger("datahub.transfer")

T = TypeVar("T")
Transferred = Callable[[str, str, int, int], None]
"""Told of a transfer: direction, name, bytes sent, bytes in all."""


class Owner(Protocol):
    """What a host needs of the run it belongs to.

    ``stopped`` is set when the task is to stop; ``patience`` is for calls to Datahub, in seconds.
    """

    stopped: threading.Event
    patience: float

    def check(self) -> None:
        """Raise TaskCancelled if the task is to stop."""

    def confirm(self, status: TaskStatus) -> None:
        """A pause has taken hold, or is over."""

    def progressed(self, percent: int) -> None:
        """The progress may have risen."""

    def settle(self, ending: Ending, uploads: Callable[[], object]) -> Verdict:
        """Decide the outcome; ``uploads`` stores what the work left."""


class SupervisorHost:
    """One task's host. Called from several threads."""

    def __init__(
        self,
        subtask_id: str,
        *,
        owner: Owner,
        client: DatahubClient,
        journal: Journal,
        engine: Engine,
        settings: TransferSettings,
        work_dir: Path,
        transferred: Transferred,
    ) -> None:
        self.uploaded: list[UploadedFile] = []
        self._subtask_id = subtask_id
        self._owner = owner
        self._client = client
        self._journal = journal
        self._engine = engine
        self._settings = settings
        self._work_dir = work_dir
        self._transferred = transferred
        self._progress = Progress()
        self._input_lock = threading.Lock()
        self._input: Path | None = None
        self._remote: RemoteFile | None = None
        self._remote_name = ""
        self._sent: set[tuple[Path, int, int]] = set()

    @property
    def percent(self) -> int:
        """The progress that heartbeats carry."""
        return self._progress.percent

    def download(self, name: str | None) -> Path:
        """See plugin.context.Host."""
        with self._input_lock:
            wanted = safe_file_name(name) if name else None
            if self._input and wanted in (None, self._input.name):
                return self._input
            ticket: DownloadTicket | None = self._presign()
            url = ticket.download_url.get_secret_value() if ticket else ""
            target = self._work_dir / "input" / (wanted or _name_of(ticket, url))
            target.parent.mkdir(exist_ok=True)

            def presign() -> str:
                nonlocal ticket
                first, ticket = ticket, None
                return (first or self._presign()).download_url.get_secret_value()

            self._input = download_file(
                self._engine,
                presign,
                target,
                progress=self._downloading(target.name),
                check=self._owner.check,
            ).path
            return self._input

    def input_size(self) -> int:
        """See plugin.context.Host."""
        return self._open_remote().size

    def read_input(self, offset: int, size: int) -> bytes | memoryview:
        """See plugin.context.Host."""
        remote = self._open_remote()
        data = remote.read(offset, min(size, SPAN * BLOCK))
        self._owner.progressed(self._progress.percent)  # it moves, as a stall watch wants to know
        # What is read twice counts twice, but never beyond the whole.
        sent = min(remote.fetched, remote.size)
        self._transferred("download", self._remote_name, sent, remote.size)
        return data

    def upload(self, path: Path, name: str | None) -> UploadedFile:
        """See plugin.context.Host."""
        return self._upload(path, name or path.name, lambda _sent: None)

    def progress(self, percent: float) -> None:
        """See plugin.context.Host."""
        self._owner.progressed(self._progress.worked(percent))

    def save_state(self, state: Mapping[str, Any]) -> None:
        """See plugin.context.Host."""
        self._journal.save_state(self._subtask_id, state)

    def confirm(self, status: TaskStatus) -> None:
        """See plugin.context.Host."""
        self._owner.confirm(status)

    def ended(self, ending: Ending) -> Verdict:
        """See isolation.session.TaskHost."""
        return self._owner.settle(ending, self._upload_outputs)

    def _presign(self) -> DownloadTicket:
        return _patiently(
            self._owner, lambda: self._client.download_presign(self._subtask_id, patience=0)
        )

    def _presigned_url(self) -> str:
        ticket = self._presign()
        url = ticket.download_url.get_secret_value()
        self._remote_name = _name_of(ticket, url)
        return url

    def _open_remote(self) -> RemoteFile:
        with self._input_lock:
            if self._remote is None:
                self._remote = RemoteFile(
                    self._engine, self._presigned_url, check=self._owner.check
                )
            return self._remote

    def _upload_outputs(self) -> None:
        folder = self._work_dir / "output"
        files = _files_in(folder)
        left = [path for path in files if _identity(path) not in self._sent]
        total = sum(path.stat().st_size for path in left)
        before = 0
        for path in left:
            base = before

            def sent(count: int, base: int = base) -> None:
                share = (base + count) / total if total else 1.0
                self._owner.progressed(self._progress.uploaded(share))

            self._upload(path, path.relative_to(folder).as_posix(), sent)
            before += path.stat().st_size

    def _upload(self, path: Path, name: str, sent: Callable[[int], None]) -> UploadedFile:
        def progress(count: int, total: int) -> None:
            sent(count)
            self._transferred("upload", name, count, total)

        try:
            identity = _identity(path)
        except OSError as error:
            raise LocalFileError(f"{path} cannot be uploaded: {error.strerror}") from None
        stored = upload_file(
            self._engine,
            path,
            name=name,
            chunk=self._settings.chunk_size,
            api=_UploadApi(
                self._client, self._journal.uploads, self._subtask_id, name, self._owner
            ),
            digest=self._settings.digest == "sha256",
            progress=progress,
            check=self._owner.check,
        )
        self._journal.uploads.complete(self._subtask_id, name)
        self._sent.add(identity)
        uploaded = UploadedFile(stored.name, stored.size, stored.sha256)
        self.uploaded.append(uploaded)
        return uploaded

    def _downloading(self, name: str) -> Callable[[int, int], None]:
        def progress(count: int, total: int) -> None:
            share = count / total if total else 1.0
            self._owner.progressed(self._progress.downloaded(share))
            self._transferred("download", name, count, total)

        return progress


class _UploadApi:
    """Datahub's upload calls, as transfers want them, with what is stored in the journal."""

    def __init__(
        self,
        client: DatahubClient,
        uploads: UploadLog,
        subtask_id: str,
        name: str,
        owner: Owner,
    ) -> None:
        self._client = client
        self._uploads = uploads
        self._subtask_id = subtask_id
        self._name = name
        self._owner = owner

    def init(
        self, file_name: str, size: int, chunk_size: int | None, *, resume: bool
    ) -> UploadSlots:
        kept = self._uploads.find(self._subtask_id, file_name) if resume else None
        if kept is not None and (kept.size, kept.chunk) == (size, chunk_size or 0):
            stored = {index: StoredPart(p.etag, p.digest) for index, p in kept.parts.items()}
            return UploadSlots(kept.upload_id, kept.urls, stored, kept.completed)
        request = UploadRequest(
            subtask_id=self._subtask_id, file_name=file_name, file_size=size, chunk_size=chunk_size
        )
        ticket = _patiently(self._owner, lambda: self._client.upload_init(request, patience=0))
        urls = [part.url.get_secret_value() for part in ticket.part_upload_urls]
        self._uploads.begin(
            self._subtask_id,
            file_name,
            upload_id=ticket.upload_id,
            size=size,
            chunk=chunk_size or 0,
            urls=urls,
        )
        return UploadSlots(ticket.upload_id, urls)

    def keep(self, upload_id: str, index: int, part: StoredPart) -> None:
        kept = KeptPart(part.etag, part.digest)
        self._uploads.keep(self._subtask_id, self._name, upload_id, index, kept)

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

        _patiently(self._owner, attempt)


def _patiently(owner: Owner, call: Callable[[], T]) -> T:
    """Make a call to Datahub, again and again if need be, as long as the task is to go on.

    An outage must not fail work that is half done: it has the patience that its result has.
    """

    def attempt() -> T:
        owner.check()
        return call()

    def ended(seconds: float) -> bool:
        owner.stopped.wait(seconds)
        return False

    return persist(attempt, owner.patience, ended)


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


def _name_of(ticket: DownloadTicket | None, url: str) -> str:
    given = ticket.file_name if ticket else None
    return safe_file_name(given or unquote(urlsplit(url).path))


def error_line(error: Exception) -> str:
    """An error as one line."""
    return " ".join(str(error).split()) or type(error).__name__
