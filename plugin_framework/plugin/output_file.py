"""An output as a file that is in storage once it is closed."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol

BUFFER = 1024 * 1024
"""Bytes that are written to disk at once."""


class OutputHost(Protocol):
    """What such a file asks of the supervisor."""

    def open_output(self, name: str, size: int | None) -> Path:
        """Where to write it."""

    def close_output(self, name: str) -> object:
        """Return once it is in storage."""

    def discard_output(self, name: str) -> None:
        """It is not to be stored."""


class OutputFile(io.BufferedWriter):
    """A binary file to write to. Closing it stores it; leaving ``with`` by an exception does not.

    One whose size was given is written from its start to its end, and cannot be sought. What writes
    to its descriptor adds to its end, wherever it means to write: the size then tells on it.
    """

    def __init__(
        self,
        host: OutputHost,
        name: str,
        size: int | None,
        waiting: Callable[[Callable[[], object]], object],
    ) -> None:
        """``waiting`` makes a call that may take long, and lets a pause take hold meanwhile."""
        mode = "w" if size is None else "a"
        super().__init__(io.FileIO(host.open_output(name, size), mode), BUFFER)
        self._host = host
        self._name = name
        self._sized = size is not None
        self._waiting = waiting
        self._process = os.getpid()
        self._forgotten = False

    def seekable(self) -> bool:
        """Whether its size was left open."""
        return not self._sized

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """See io.IOBase.

        Raises:
            io.UnsupportedOperation: its size was given, so what is written may be gone already.
        """
        if self._sized:
            raise io.UnsupportedOperation("an output of a given size is written in order")
        return super().seek(offset, whence)

    def truncate(self, size: int | None = None, /) -> int:
        """See io.IOBase; raises as ``seek`` does."""
        if self._sized:
            raise io.UnsupportedOperation("an output of a given size is written in order")
        return super().truncate(size)

    def close(self) -> None:
        """Store the file, and return once that is done; a second call does nothing.

        Raises:
            TransferError: it cannot be written or read, storage refuses it, or it has another size
                than was given.
            TaskCancelled: the task was cancelled meanwhile.
        """
        if self.closed:
            return
        try:
            super().close()
            if self._forgotten:
                return
            self._waiting(lambda: self._host.close_output(self._name))
        except BaseException:
            self._host.discard_output(self._name)
            raise

    def discard(self) -> None:
        """Close the file, and store nothing."""
        if not self.closed:
            try:
                super().close()
            finally:
                self._host.discard_output(self._name)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _dealloc_warn(self, source: object) -> None:  # noqa: ARG002 - io's own signature
        # io calls this where a wrapper that is forgotten, as a TextIOWrapper, is about to close us.
        self._forgotten = True

    def __del__(self) -> None:
        # Without this, one that is forgotten would be stored half written, even from a fork. The
        # supervisor has it open still, and says so when the work returns.
        if os.getpid() == getattr(self, "_process", None) and not self.closed:
            super().close()
