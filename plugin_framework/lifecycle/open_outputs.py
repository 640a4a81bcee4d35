"""Outputs that are stored while they are written: ``ctx.open_output()``, as the supervisor sees it.

An upload begins by telling Datahub the file's size (PROTOCOL.md, 1.1). So parts can go out as they
fill only where the author knows it in advance; else the upload begins when the file is closed. In
both cases the bytes are on disk first, for a part may have to be sent again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

from plugin_framework.errors import LocalFileError
from plugin_framework.lifecycle.folders import folder_name
from plugin_framework.lifecycle.uploading import Going, Patient, Uploads
from plugin_framework.plugin.context import UploadedFile
from plugin_framework.transfer.engine import AbortedError
from plugin_framework.transfer.upload import Growing


class OpenOutputs:
    """The outputs that one task has open. ``folder`` is theirs alone, and made where it is missing.

    Safe to use from several threads.
    """

    def __init__(self, uploads: Uploads, owner: Patient, folder: Path) -> None:
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
            if name in self._open:
                raise LocalFileError(f"the output {name} is open already")
            with _making(name):
                self._folder.mkdir(exist_ok=True)
                path.write_bytes(b"")  # what an earlier attempt left is of no use
            output = self._open[name] = _Output(path, name, size)
        if size is not None:
            output.start(self._uploads, self._owner)
        return path

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
            return output.stored.result()
        finally:
            self._discard(name, output)

    def discard(self, name: str) -> None:
        """Forget an output and what was written of it; nothing of it is completed."""
        output = self._open.get(name)
        if output is not None:
            self._discard(name, output)

    def discard_all(self) -> list[str]:
        """Forget all that are still open, and return their names."""
        names = list(self._open)
        for name in names:
            self.discard(name)
        return names

    def _discard(self, name: str, output: _Output) -> None:
        output.stop()
        output.path.unlink(missing_ok=True)
        with self._lock:
            self._open.pop(name, None)


class _Output:
    """An output that is being written to ``path``; ``stored`` is settled if it has a size."""

    def __init__(self, path: Path, name: str, size: int | None) -> None:
        self.path = path
        self.growing = None if size is None else Growing(size, threading.Event())
        self.stored: Future[UploadedFile] = Future()
        self._name = name
        self._discarded = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, uploads: Uploads, owner: Patient) -> None:
        """Send it, as it grows, from a thread."""
        growing = self.growing
        assert growing is not None

        def check() -> None:
            if self._discarded.is_set():
                raise AbortedError(f"the output {self._name} was discarded")
            owner.check()

        def run() -> None:
            try:
                going = Going(check, self._discarded)
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

    def stop(self) -> None:
        """End its upload, if there is one under way."""
        self._discarded.set()
        if self._thread is not None:
            self._thread.join()


@contextmanager
def _making(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalFileError(
            f"the output {name} cannot be written: {error.strerror or error}"
        ) from None
