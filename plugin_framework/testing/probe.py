"""A context for the test of a single hook: it remembers what the hook did, and runs nothing."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from plugin_framework.errors import LocalFileError
from plugin_framework.isolation.session import CheckedHost
from plugin_framework.lifecycle.folders import safe_file_name
from plugin_framework.plugin.base import DatahubPlugin, PluginConfig, parse_config
from plugin_framework.plugin.class_checks import check_class
from plugin_framework.plugin.context import Gate, TaskContext, TaskFacts, UploadedFile
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.testing.local import existing, inside

T = TypeVar("T")


class ContextProbe(TaskContext[Any]):
    """A real context whose host is a folder. A pause is over as soon as it has taken hold.

    Attributes:
        progressed: the percents that were told, in order.
        saved: the states that were saved, in order.
        uploaded: the files that were uploaded, by name: copies below ``work_dir / "uploaded"``.
        confirmed: PAUSED and RUNNING, as pauses took hold and were over.
    """

    def __init__(
        self, facts: TaskFacts, config: object, source: Path | None, log: logging.Logger
    ) -> None:
        gate = Gate()
        folder = Path(facts.work_dir)
        host = _FolderHost(source, folder, gate)
        super().__init__(facts, config, host=CheckedHost(host), gate=gate, log=log)
        self.progressed: list[float] = host.progressed
        self.saved: list[Mapping[str, Any]] = host.saved
        self.uploaded: dict[str, Path] = host.uploaded
        self.confirmed: list[TaskStatus] = host.confirmed

    def pause(self) -> None:
        """Pause it: that takes hold at the next checkpoint, and is over then."""
        self._gate.pause()

    def cancel(self) -> None:
        """Cancel it: the next checkpoint raises TaskCancelled."""
        self._gate.cancel()

    def _held_meanwhile(self, call: Callable[[], T]) -> T:
        """Make a call here: there is nothing to wait for."""
        self._wait_while_held()
        return call()


def make_context(
    *,
    config: Mapping[str, Any] | PluginConfig | None = None,
    plugin: type[DatahubPlugin] | None = None,
    input: Path | str | bytes | None = None,  # noqa: A002 - the word authors expect
    state: Mapping[str, Any] | None = None,
    attempt: int = 1,
    work_dir: Path | None = None,
) -> ContextProbe:
    """A context to hand to a hook: no thread, no process and no network is behind it.

    A ``config`` that is no ``PluginConfig`` is validated by the ``plugin``. The context's folder is
    removed with it, unless it is given as ``work_dir``.

    Raises:
        PluginLoadError: the ``plugin`` is no plugin class.
        InvalidConfigError: with one line for each field that is wrong.
        FileNotFoundError: there is no file ``input``.
    """
    kind = plugin or DatahubPlugin
    check_class(kind)
    folder = work_dir or Path(tempfile.mkdtemp(prefix="datahub-"))
    given = config if isinstance(config, Mapping) else {}
    facts = TaskFacts(
        "subtask-1", None, attempt, str(folder), given, state or {}, work_dir_is_new=not work_dir
    )
    chosen = config if isinstance(config, PluginConfig) else parse_config(kind, given)
    log = logging.getLogger(f"datahub.plugin.{kind.name or kind.__name__}")
    probe = ContextProbe(facts, chosen, _source(input, folder), log)
    if work_dir is None:
        weakref.finalize(probe, shutil.rmtree, folder, ignore_errors=True)
    return probe


def _source(given: Path | str | bytes | None, folder: Path) -> Path | None:
    if not isinstance(given, bytes):
        return None if given is None else existing(given)
    source = folder / "given" / "input"
    source.parent.mkdir(parents=True)
    source.write_bytes(given)
    return source


class _FolderHost:
    """Serves a local file, and takes uploads into a folder; see ``plugin.context.Host``."""

    def __init__(self, source: Path | None, folder: Path, gate: Gate) -> None:
        self._given = source
        self._folder = folder
        self._gate = gate
        self.progressed: list[float] = []
        self.saved: list[Mapping[str, Any]] = []
        self.uploaded: dict[str, Path] = {}
        self.confirmed: list[TaskStatus] = []

    def download(self, name: str | None) -> Path:
        target = self._folder / "input" / safe_file_name(name or self._source.name)
        target.parent.mkdir(exist_ok=True)
        if not target.exists():
            shutil.copyfile(self._source, target)
        return target

    def input_size(self) -> int:
        return self._source.stat().st_size

    def read_input(self, offset: int, size: int) -> bytes:
        with self._source.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def upload(self, path: Path, name: str | None) -> UploadedFile:
        target = self._folder / "uploaded" / inside(name or path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(path, target)
        except OSError as error:
            raise LocalFileError(f"{path} cannot be uploaded: {error.strerror}") from None
        return self._stored(name or path.name, target)

    def open_output(self, name: str, size: int | None) -> Path:  # noqa: ARG002 - nothing is sent
        target = self._folder / "open" / inside(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
        return target

    def close_output(self, name: str) -> UploadedFile:
        return self.upload(self._folder / "open" / inside(name), name)

    def discard_output(self, name: str) -> None:
        (self._folder / "open" / inside(name)).unlink(missing_ok=True)

    def progress(self, percent: float) -> None:
        self.progressed.append(percent)

    def tell(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Nobody observes."""

    def save_state(self, state: Mapping[str, Any]) -> None:
        self.saved.append(state)

    def confirm(self, status: TaskStatus) -> None:
        self.confirmed.append(status)
        if status is TaskStatus.PAUSED:
            self._gate.resume()

    @property
    def _source(self) -> Path:
        if self._given is None:
            raise LocalFileError("the subtask has no input file: give make_context an input")
        return self._given

    def _stored(self, name: str, path: Path) -> UploadedFile:
        self.uploaded[name] = path
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return UploadedFile(name, path.stat().st_size, digest)
