"""The supervisor's side of a context: transfers, progress, state, and the ending of one task."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from plugin_framework.errors import JournalError, LocalFileError, Problem, problem_of
from plugin_framework.isolation.session import Ending, Verdict
from plugin_framework.lifecycle.chronicle import Chronicle
from plugin_framework.lifecycle.clock import Clock
from plugin_framework.lifecycle.folders import safe_file_name
from plugin_framework.lifecycle.hold import Hold
from plugin_framework.lifecycle.open_outputs import OpenOutputs
from plugin_framework.lifecycle.progress import Progress
from plugin_framework.lifecycle.supervisor import RunJournal
from plugin_framework.lifecycle.uploading import Going, Uploads
from plugin_framework.plugin.context import UploadedFile
from plugin_framework.plugin.input_file import BLOCK, SPAN
from plugin_framework.protocol.client import DatahubClient
from plugin_framework.protocol.models import DownloadTicket, TaskStatus
from plugin_framework.settings import TransferSettings
from plugin_framework.transfer.download import download_file
from plugin_framework.transfer.engine import AbortedError, Engine
from plugin_framework.transfer.exchange import POLL_SECONDS
from plugin_framework.transfer.remote_file import RemoteFile

log: logging.Logger = logging.getLogger("datahub.transfer")


IN_PLACE = "input"
"""What observers are told that an input is called which is read in place: it is named later."""


class Owner(Protocol):
    """What a host needs of the run it belongs to.

    ``stopped`` is set when the task is to stop; ``patience`` is for calls to Datahub, in seconds of
    the ``clock``.
    """

    stopped: threading.Event
    patience: float
    clock: Clock

    @property
    def pausing(self) -> bool:
        """Whether the task is to be paused, or is."""

    @property
    def paused_for(self) -> int | None:
        """The number of the signal that pauses it, if one does."""

    def check(self) -> None:
        """Raise TaskCancelled if the task is to stop."""

    def confirm(self, status: TaskStatus) -> None:
        """A pause has taken hold, or is over."""

    def progressed(self, percent: int) -> None:
        """The progress may have risen."""

    def settle(self, ending: Ending, uploads: Callable[[], object]) -> Verdict:
        """Decide the outcome; ``uploads`` stores what the work left."""


class _Holding:
    """What transfers need of the run: they wait while its work is held at a checkpoint.

    Not before it is, and not once it is to go on: the hooks of a pause may move files. Once the
    work has ended, though threads of it may be held, a ``Hold`` holds what it left.
    """

    def __init__(self, owner: Owner) -> None:
        self.stopped = owner.stopped
        self.patience = owner.patience
        self.clock = owner.clock
        self.held = False
        self.ended = False
        self.gone = False
        self._owner = owner

    def check(self, unless: Callable[[], bool] = lambda: False) -> None:
        """Wait while the work is held, ``unless`` what waits has become of no use.

        Raises:
            TaskCancelled: the task is to stop.
            AbortedError: the work is gone without an end.
        """
        self._check()
        while self.held and not self.ended and self._owner.pausing and not unless():
            self.stopped.wait(POLL_SECONDS)
            self._check()

    def _check(self) -> None:
        self._owner.check()
        if self.gone:
            raise AbortedError("the plugin's code runs no more")


class SupervisorHost:
    """One task's host. Called from several threads."""

    def __init__(
        self,
        subtask_id: str,
        *,
        owner: Owner,
        client: DatahubClient,
        journal: RunJournal,
        engine: Engine,
        settings: TransferSettings,
        work_dir: Path,
        chronicle: Chronicle,
    ) -> None:
        self._subtask_id = subtask_id
        self._owner = owner
        self._going = _Holding(owner)
        self._client = client
        self._journal = journal
        self._engine = engine
        self._settings = settings
        self._work_dir = work_dir
        self._chronicle = chronicle
        self._reading = ExitStack()
        self._progress = Progress()
        self._input_lock = threading.Lock()
        self._input: Path | None = None
        self._remote: RemoteFile | None = None
        self._remote_name = ""
        self._uploads = Uploads(
            subtask_id,
            owner=self._going,
            client=client,
            log=journal.uploads,
            engine=engine,
            settings=settings,
            transferred=chronicle.transferred,
            transfer=chronicle.transfer,
        )
        self._open_outputs = OpenOutputs(self._uploads, self._going, work_dir / "open")

    @property
    def percent(self) -> int:
        """The progress that heartbeats carry."""
        return self._progress.percent

    @property
    def uploaded(self) -> tuple[UploadedFile, ...]:
        """The manifest: all that the subtask has in storage, whichever attempt put it there."""
        try:
            return tuple(self._uploads.stored())
        except JournalError as error:
            log.warning("subtask %s: its outputs are not known: %s", self._subtask_id, error)
            return ()

    def gone(self) -> None:
        """The plugin's code runs no more: what it was still writing is not to be stored.

        Nor what it was uploading: it waits for nothing now, and nobody is left to end a pause.
        """
        self._going.gone = True
        self._open_outputs.discard_all()
        self._reading.close()

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

            with self._chronicle.transfer("download", target.name) as tally:
                self._input = download_file(
                    self._engine,
                    presign,
                    target,
                    progress=self._downloading(target.name),
                    check=self._going.check,
                    tally=tally,
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
        self._chronicle.transferred("download", self._remote_name, sent, remote.size)
        return data

    def upload(self, path: Path, name: str | None) -> UploadedFile:
        """See plugin.context.Host."""
        self._open_outputs.refuse(name or path.name)
        return self._uploads.one(path, name or path.name)

    def open_output(self, name: str, size: int | None) -> Path:
        """See plugin.context.Host."""
        return self._open_outputs.open(name, size)

    def close_output(self, name: str) -> UploadedFile:
        """See plugin.context.Host."""
        return self._open_outputs.close(name)

    def discard_output(self, name: str) -> None:
        """See plugin.context.Host."""
        self._open_outputs.discard(name)

    def progress(self, percent: float) -> None:
        """See plugin.context.Host."""
        self._owner.progressed(self._progress.worked(percent))

    def tell(self, kind: str, facts: Mapping[str, Any]) -> None:
        """See plugin.context.Host."""
        self._chronicle.tell("datahub_told", kind=kind, facts=facts)

    def save_state(self, state: Mapping[str, Any]) -> None:
        """See plugin.context.Host."""
        self._journal.save_state(self._subtask_id, state)

    def confirm(self, status: TaskStatus) -> None:
        """See plugin.context.Host."""
        self._going.held = status is TaskStatus.PAUSED
        self._owner.confirm(status)

    def ended(self, ending: Ending) -> Verdict:
        """See isolation.session.TaskHost."""
        self._going.ended = True
        if ending.kind != "returned":
            self._open_outputs.discard_all()
        return self._owner.settle(ending, self._upload_outputs)

    def _presign(self) -> DownloadTicket:
        return Going(self._going.check, self._owner.stopped.wait, self._owner.clock).patiently(
            lambda: self._client.download_presign(self._subtask_id, patience=0),
            self._owner.patience,
        )

    def _presigned_url(self) -> str:
        ticket = self._presign()
        url = ticket.download_url.get_secret_value()
        self._remote_name = _name_of(ticket, url)
        return url

    def _open_remote(self) -> RemoteFile:
        with self._input_lock:
            if self._remote is None:
                reading = self._chronicle.transfer("download", IN_PLACE)
                tally = self._reading.enter_context(reading)
                self._remote = RemoteFile(
                    self._engine, self._presigned_url, check=self._going.check, tally=tally
                )
            return self._remote

    def _upload_outputs(self) -> None:
        open_still = self._open_outputs.discard_all()
        if open_still:
            raise LocalFileError(f"opened, and never closed: {', '.join(open_still)}")

        def moved(share: float) -> None:
            self._owner.progressed(self._progress.uploaded(share))

        hold = Hold(lambda: self._owner.pausing, self._owner.stopped, self._owner.confirm)
        # What a signal pauses has its grace period to end by itself.
        self._uploads.rest(
            self._work_dir / "output",
            moved,
            check=lambda: hold.check(begin=self._owner.paused_for is None),
        )

    def _downloading(self, name: str) -> Callable[[int, int], None]:
        def progress(count: int, total: int) -> None:
            share = count / total if total else 1.0
            self._owner.progressed(self._progress.downloaded(share))
            self._chronicle.transferred("download", name, count, total)

        return progress


def _name_of(ticket: DownloadTicket | None, url: str) -> str:
    given = ticket.file_name if ticket else None
    return safe_file_name(given or unquote(urlsplit(url).path))


def line_of(error: Exception, before: str = "") -> Problem:
    """An error as one line, with its code."""
    return problem_of(error, before + (" ".join(str(error).split()) or type(error).__name__))
