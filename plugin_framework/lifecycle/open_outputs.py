"""Outputs that are stored while they are written: ``ctx.open_output()``, as the supervisor sees it.

An upload begins by telling Datahub the file's size (PROTOCOL.md, 1.1). So parts can go out as they
fill only where the author knows it in advance; else the upload begins when the file is closed. In
both cases the bytes are on disk first, for a part may have to be sent again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from plugin_framework.errors import LocalFileError
from plugin_framework.lifecycle.folders import folder_name
from plugin_framework.lifecycle.uploading import Going, Patient, Uploads
from plugin_framework.plugin.context import UploadedFile
from plugin_framework.transfer.engine import AbortedError
from plugin_framework.transfer.exchange import POLL_SECONDS
from plugin_framework.transfer.upload import Growing

LEAVE_SECONDS = 1.0
"""How long to wait for an upload that was given up: it may be in a call that hangs."""


class Holder(Patient, Protocol):
    """What open outputs need of the run they belong to."""

    def check(self, unless: Callable[[], bool] = ...) -> None:
        """As of ``Patient``; waits no longer once ``unless`` says so."""


class OpenOutputs:
    """The outputs that one task has open. ``folder`` is theirs alone, and made where it is missing.

    Safe to use from several threads.
    """

    def __init__(self, uploads: Uploads, owner: Holder, folder: Path) -> None:
        self._uploads = uploads
        self._owner = owner
        self._folder = folder
        self._lock = threading.Lock()
        self._open: dict[str, _Output] = {}

    def open(self, name: str, size: int | None) -> Path:
        """Where to write the output to. With a ``size``, its parts are sent from now on.

        Raises:
            LocalFileError: it is open already, or no file can be made.
        """
        self._owner.check()
        path = self._folder / folder_name(name)
        with self._lock:
            self.refuse(name)
            with _making(name):
                self._folder.mkdir(exist_ok=True)
                path.write_bytes(b"")  # what an earlier attempt left is of no use
            output = self._open[name] = _Output(path, name, size)
        if size is not None:
            output.start(self._uploads, self._owner)
        return path

    def refuse(self, name: str) -> None:
        """Raise LocalFileError if an output of that name is open."""
        if name in self._open:
            raise LocalFileError(f"the output {name} is open already")

    def close(self, name: str) -> UploadedFile:
        """Return once the output is in storage; whatever happens, it is open no more.

        Raises:
            LocalFileError: it is not open, or has another size than it was to have.
            TransferError: storage does not take it.
        """
        output = self._open.get(name)
        if output is None:
            raise LocalFileError(f"the output {name} is not open")
        try:
            output.check_size()
            if output.growing is None:
                return self._uploads.one(output.path, name)
            output.growing.whole.set()
            return output.result(self._owner)
        finally:
            self._discard({name: output})

    def discard(self, name: str) -> None:
        """Forget an output and what was written of it; nothing of it is completed."""
        output = self._open.get(name)
        if output is not None:
            self._discard({name: output})

    def discard_all(self) -> list[str]:
        """Forget all that are still open, and return their names."""
        left = self._open.copy()
        self._discard(left)
        return list(left)

    def _discard(self, outputs: dict[str, _Output]) -> None:
        for output in outputs.values():
            output.discarded.set()
        until = time.monotonic() + LEAVE_SECONDS
        for name, output in outputs.items():
            output.leave(until)
            with self._lock:
                if self._open.get(name) is output:
                    output.path.unlink(missing_ok=True)
                    del self._open[name]


class _Output:
    """An output that is being written to ``path``; ``stored`` is settled if it has a size."""

    def __init__(self, path: Path, name: str, size: int | None) -> None:
        self.path = path
        self.growing = None if size is None else Growing(size, threading.Event())
        self.stored: Future[UploadedFile] = Future()
        self.discarded = threading.Event()
        self._name = name
        self._thread: threading.Thread | None = None

    def start(self, uploads: Uploads, owner: Holder) -> None:
        """Send it, as it grows, from a thread."""
        growing = self.growing
        assert growing is not None

        def check() -> None:
            owner.check(self.discarded.is_set)
            if self.discarded.is_set():
                raise AbortedError(f"the output {self._name} was discarded")

        def pause(seconds: float) -> None:
            until = time.monotonic() + seconds
            while not (self.discarded.is_set() or owner.stopped.is_set()):
                left = until - time.monotonic()
                if left <= 0:
                    break
                self.discarded.wait(min(left, POLL_SECONDS))

        def run() -> None:
            try:
                going = Going(check, pause)
                self.stored.set_result(uploads.growing(self.path, self._name, growing, going))
            except BaseException as error:  # noqa: BLE001 - raised where the output is closed
                self.stored.set_exception(error)

        self._thread = threading.Thread(target=run, daemon=True, name="output")
        self._thread.start()

    def check_size(self) -> None:
        """Raise LocalFileError unless all that was to be written is there."""
        with _making(self._name):
            size = self.path.stat().st_size
        if self.growing is not None and size != self.growing.size:
            raise LocalFileError(
                f"the output {self._name} was to have {self.growing.size} bytes, and has {size}"
            )

    def result(self, owner: Holder) -> UploadedFile:
        """Return once it is stored; raises what keeps it from being so."""
        while wait([self.stored], POLL_SECONDS).not_done:
            owner.check(self.discarded.is_set)
        return self.stored.result()

    def leave(self, until: float) -> None:
        """Wait for the end of its upload, but not beyond that time."""
        if self._thread is not None:
            self._thread.join(max(until - time.monotonic(), 0))


@contextmanager
def _making(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalFileError(
            f"the output {name} cannot be written: {error.strerror or error}"
        ) from None
