"""The face of the supervisor that a plugin's hooks see."""

from __future__ import annotations

import io
import logging
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, Generic, Protocol

from typing_extensions import TypeVar

from plugin_framework.errors import TaskCancelled
from plugin_framework.plugin.input_file import InputBlocks, open_blocks
from plugin_framework.plugin.output_file import OutputFile
from plugin_framework.protocol.models import TaskStatus

# The default makes a plain ``TaskContext`` complete, also under the strictest type checker.
ConfigT_co = TypeVar("ConfigT_co", covariant=True, default=Any)
Item = TypeVar("Item")

PAUSE_POLL = 0.1
"""Seconds after which a call that waits for a transfer sees that the task is to pause."""

_in_pause_hook: ContextVar[bool] = ContextVar("in_pause_hook", default=False)


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file that is in storage: ``size`` in bytes, ``sha256`` in hex unless digests are off."""

    name: str
    size: int
    sha256: str | None


class Host(Protocol):
    """What a context asks of its supervisor: over a pipe, or called straight."""

    def download(self, name: str | None) -> Path:
        """Fetch the input and return where it is."""

    def input_size(self) -> int:
        """The input's size in bytes."""

    def read_input(self, offset: int, size: int) -> bytes | memoryview:
        """At most ``size`` bytes of the input from ``offset``; nothing at its end."""

    def upload(self, path: Path, name: str | None) -> UploadedFile:
        """Put a file into storage."""

    def open_output(self, name: str, size: int | None) -> Path:
        """Where to write an output to; with a ``size`` in bytes, it is sent as it fills."""

    def close_output(self, name: str) -> UploadedFile:
        """The output is written: return once it is in storage."""

    def discard_output(self, name: str) -> None:
        """The output is not to be stored."""

    def progress(self, percent: float) -> None:
        """The work is done to ``percent``."""

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Keep the state for the next attempt."""

    def tell(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Tell the extensions that observe."""

    def confirm(self, status: TaskStatus) -> None:
        """A pause has taken hold, or is over."""


class Gate:
    """Whether the task may go on: open, held (paused), or cancelled for good."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._on_cancel: list[Callable[[], object]] = []
        self.open: bool = True
        self.paused: bool = False
        self.cancelled: bool = False
        self.failing: bool = False

    def pause(self) -> None:
        """Hold the task at its next checkpoint."""
        self._set(paused=True)

    def resume(self) -> None:
        """Let a held task go on."""
        self._set(paused=False)

    def cancel(self) -> None:
        """Stop the task at its next checkpoint, paused or not."""
        with self._changed:
            self._set(cancelled=True)
            for callback in self._on_cancel:
                callback()

    def fail(self) -> None:
        """Stop the task as a cancel does, but it has failed: ``on_cancel`` is not called."""
        self.failing = True
        self.cancel()

    @contextmanager
    def on_cancel(self, callback: Callable[[], object]) -> Iterator[None]:
        """Have ``callback`` called, from another thread, if the task is cancelled meanwhile.

        It is called at once where the task is cancelled already. It must be quick, and not raise.
        """
        with self._changed:
            self._on_cancel.append(callback)
            if self.cancelled:
                callback()
        try:
            yield
        finally:
            with self._changed:
                self._on_cancel.remove(callback)

    def wait(self) -> None:
        """Wait until the task may go on, or is cancelled."""
        with self._changed:
            self._changed.wait_for(lambda: self.cancelled or not self.paused)

    def _set(self, *, paused: bool | None = None, cancelled: bool = False) -> None:
        with self._changed:
            self.paused = self.paused if paused is None else paused
            self.cancelled = self.cancelled or cancelled
            self.open = not (self.paused or self.cancelled)
            self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What a task is told at its start; plain JSON, so that it can cross a pipe."""

    subtask_id: str
    task_id: str | None
    attempt: int
    work_dir: str
    config: Mapping[str, Any]
    state: Mapping[str, Any]
    work_dir_is_new: bool = False
    trace_context: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The fields; not by ``asdict``, which goes no deeper than half as far as JSON may."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class TaskContext(Generic[ConfigT_co]):
    """One task, as its hooks see it. Safe to use from several threads.

    Attributes:
        subtask_id: Datahub's id of this piece of work.
        task_id: the id of the task it belongs to, where known.
        config: the validated ``Config`` of the plugin.
        attempt: 1, and one more each time the subtask is started again.
        log: a logger whose records reach the supervisor's log.
        work_dir: a private folder, kept across attempts on the same machine.
        work_dir_is_new: it was made for this attempt. Always so at the first; at a later one, what
            the attempts before it left there is lost, or is on another machine: ``state`` is all
            that there is of them.
        output_dir: every file in here when ``process`` returns is uploaded. It is kept across
            attempts, too: make a file elsewhere in ``work_dir``, and move it here once it is whole.
        state: what ``save_state`` saved, there again at the next attempt.
        trace_context: W3C's ``traceparent`` of the attempt, and perhaps ``tracestate``; empty where
            nothing is traced. Commands of ``run`` get it as ``TRACEPARENT``.
    """

    def __init__(
        self, facts: TaskFacts, config: ConfigT_co, *, host: Host, gate: Gate, log: logging.Logger
    ) -> None:
        self.subtask_id: str = facts.subtask_id
        self.task_id: str | None = facts.task_id
        self.config = config
        self.attempt: int = facts.attempt
        self.log = log
        self.work_dir: Path = Path(facts.work_dir)
        self.work_dir_is_new: bool = facts.work_dir_is_new
        self.output_dir: Path = self.work_dir / "output"
        self.output_dir.mkdir(parents=True, exist_ok=True)
        self.state: dict[str, Any] = dict(facts.state)
        self.trace_context: dict[str, str] = dict(facts.trace_context)
        self._host = host
        self._gate = gate
        self._holding = threading.Lock()
        self._saving = threading.Lock()
        self._opening = threading.Lock()
        self._input: InputBlocks | None = None
        self._sent = -1.0
        self._pause_hook: Callable[[TaskStatus], None] = lambda _status: None
        self._hooks: frozenset[str] = frozenset()
        # Of an extension that traces. None by default, and no lambda: that would keep us alive.
        self._current_trace: Callable[[], Mapping[str, str]] | None = None

    def __repr__(self) -> str:
        return f"<TaskContext {self.subtask_id} attempt={self.attempt}>"

    # Files

    def download(self, name: str | None = None) -> Path:
        """Fetch the input and return where it is, in ``work_dir``; a second call is free.

        ``name`` is what to call the file; else it gets the name Datahub gives it.

        Raises:
            TransferError: the input cannot be had.
            TaskCancelled: the task was cancelled meanwhile.
        """
        return self._held_meanwhile(lambda: self._host.download(name))

    def open_input(self) -> io.BufferedReader:
        """The input as a seekable binary file that fetches only what is read, in blocks of 1 MiB.

        Blocks are kept for a while, by all files that are open at once together, and read ahead
        where reads follow each other: 64 MiB of memory at the most. A read is a checkpoint. The
        file may be used from several threads, one of which reads at a time; open one for each to
        read side by side.

        Raises:
            TransferError: the input cannot be had, or storage serves no ranges of it; also from
                reads.
            ObjectChangedError: from reads, if the input in storage is replaced meanwhile.
            TaskCancelled: the task was cancelled meanwhile; also from reads.
        """
        self._wait_while_held()
        size = self._host.input_size()
        with self._opening:
            if self._input is None:
                self._input = InputBlocks(self._host.read_input, size)
        return open_blocks(self._input, self._wait_while_held)

    def upload(self, path: Path | str, name: str | None = None) -> UploadedFile:
        """Put a file into storage, under its own name unless ``name`` is given.

        Raises:
            TransferError: the file cannot be read, or storage refuses it.
            TaskCancelled: the task was cancelled meanwhile.
        """
        absolute = Path(path).absolute()
        return self._held_meanwhile(lambda: self._host.upload(absolute, name))

    def open_output(self, name: str, size: int | None = None) -> OutputFile:
        """A binary file to write to, which is stored as ``name`` when it is closed.

        Left by an exception, ``with`` discards it, and the next attempt begins it anew. With its
        ``size`` in bytes, known in advance, its parts are sent as they fill, and it is written in
        order; else it is sent when it is closed, for Datahub wants to know the size first. It is
        written to ``work_dir`` in both cases, and removed from there once it is stored.

        Raises:
            TransferError: it cannot be written; from ``close``, also if it cannot be stored, or has
                another size than was given.
            TaskCancelled: the task was cancelled meanwhile; also from ``close``.
            ValueError: the name is empty, or the size negative.
        """
        if not name or (size is not None and size < 0):
            raise ValueError("an output needs a name, and a size that is not negative")
        self._wait_while_held()
        return OutputFile(self._host, name, size, self._held_meanwhile)

    # Progress and control

    def progress(self, percent: float) -> None:
        """Say how much of the work is done, 0 to 100; it never falls.

        Raises:
            ValueError: for NaN.
        """
        percent = float(percent)
        if math.isnan(percent):
            raise ValueError("progress must be a number from 0 to 100, not NaN")
        percent = min(max(percent, 0.0), 100.0)
        done = percent == 100 and self._sent < percent  # noqa: PLR2004 - per cent
        if percent - self._sent >= 1 or done:
            self._sent = percent
            self._host.progress(percent)

    def track(self, iterable: Iterable[Item], total: int | None = None) -> Iterator[Item]:
        """Iterate with progress, pause and cancel taken care of.

        ``total`` is the number of items; without it, and for what has no ``len``, there is no
        progress.
        """
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        for done, item in enumerate(iterable, 1):
            self.checkpoint()
            yield item
            if total:
                self.progress(done * 100 / total)

    def checkpoint(self, name: str = "") -> None:  # noqa: ARG002 - tests go by it
        """Wait here while the task is paused.

        A ``name`` is for tests alone: there a run can be paused or cancelled right here.

        Raises:
            TaskCancelled: the task was cancelled. Let it pass.
        """
        self._wait_while_held()

    def _wait_while_held(self) -> None:
        if self._gate.open:
            return
        if not _in_pause_hook.get():
            with self._holding:
                self._hold()
        if self._gate.cancelled:
            raise TaskCancelled(f"subtask {self.subtask_id} was cancelled")

    @property
    def cancelled(self) -> bool:
        """Whether the task has been cancelled."""
        return self._gate.cancelled

    @property
    def paused(self) -> bool:
        """Whether the task is to pause, or has."""
        return self._gate.paused

    def _held_meanwhile(self, call: Callable[[], Item]) -> Item:
        """Make a call that may take long. A pause takes hold meanwhile; the host holds the call."""
        self._wait_while_held()
        result: Future[Item] = Future()

        def run() -> None:
            try:
                result.set_result(call())
            except BaseException as error:  # noqa: BLE001 - raised where the call was made
                result.set_exception(error)

        threading.Thread(target=run, daemon=True, name="transfer").start()
        while wait([result], PAUSE_POLL).not_done:
            if self._gate.paused and not _in_pause_hook.get():
                with self._holding:
                    self._hold()
        return result.result()

    def _hold(self) -> None:
        while self._gate.paused and not self._gate.cancelled:
            self._tell(TaskStatus.PAUSED)
            self._gate.wait()
            if not self._gate.cancelled:
                self._tell(TaskStatus.RUNNING)

    def _tell(self, status: TaskStatus) -> None:
        token = _in_pause_hook.set(True)
        try:
            self._pause_hook(status)
        finally:
            _in_pause_hook.reset(token)
        self._host.confirm(status)

    # State and child processes

    def save_state(self, state: Mapping[str, Any] | None = None, /, **changes: Any) -> None:
        """Save ``state`` for the next attempt: the mapping if given, with ``changes`` made.

        Raises:
            InvalidResultError: it is not JSON, has a key that is not a ``str``, takes more than
                1 MiB, or is nested more than 900 deep.
        """
        with self._saving:
            new = {**(self.state if state is None else state), **changes}
            self._host.save_state(new)
            self.state = new

    def tell(self, kind: str, /, **facts: Any) -> None:
        """Tell the extensions that observe, in the supervisor: their ``datahub_told`` is called.

        It happens soon, or not at all where very much is told.

        Raises:
            InvalidResultError: the facts are not JSON, or take more than 64 KiB.
        """
        self._host.tell(kind, facts)

    def run(
        self, argv: Sequence[str | Path], *, check: bool = True, **options: Any
    ) -> CompletedProcess[Any]:
        """Run a command that is ended when the task is; ``options`` as of ``subprocess.Popen``.

        Raises:
            PluginError: it cannot be started, or exits with another code than 0 (``check``).
            TaskCancelled: the task was cancelled; the command has been ended.
            TypeError: ``argv`` is one string; no shell takes it apart.
        """
        if isinstance(argv, str):
            raise TypeError(f"give the command as a list of its words: {argv.split()}")
        from plugin_framework.plugin.command import run_command  # noqa: PLC0415 - loaded late

        self._wait_while_held()
        trace = self._current_trace() if self._current_trace else self.trace_context
        words = [str(part) for part in argv]
        return run_command(words, self._gate, check=check, options=options, trace=trace)
