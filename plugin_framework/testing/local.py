"""Runs a plugin on a local file, against a Datahub and an object store of its own."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import signal
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import SecretStr

from plugin_framework.emulator.server import Emulator
from plugin_framework.emulator.store import Output
from plugin_framework.engines.local import LocalEngine
from plugin_framework.errors import Code, ConfigurationError
from plugin_framework.lifecycle.folders import safe_file_name
from plugin_framework.lifecycle.outcome import TaskOutcome
from plugin_framework.lifecycle.runner import Run
from plugin_framework.plugin.base import DatahubPlugin
from plugin_framework.settings import Settings
from plugin_framework.testing.settings import local_settings


def run_local(
    plugin: type[DatahubPlugin] | str,
    *,
    input: Path | str | None = None,  # noqa: A002 - the word authors expect
    out: Path | str,
    config: Mapping[str, Any] | None = None,
    subtask_id: str = "local",
    settings: Mapping[str, Any] | None = None,
    observers: Mapping[str, object] | None = None,
    on_run: Callable[[Run], None] = lambda _run: None,
) -> TaskOutcome:
    """Run one subtask with an embedded Datahub and object store: no server, no set-up.

    ``input`` is the file that ``ctx.download()`` fetches; outputs appear in ``out``. ``settings``
    override the environment's; ``on_run`` is handed the run before it starts.

    Raises:
        ConfigurationError: the input cannot be read, ``out`` not written, or the plugin or its
            config is not usable.
    """
    source = _readable(Path(input)) if input is not None else None
    folder = _writable(Path(out))
    with tempfile.TemporaryDirectory(
        prefix=".datahub-", dir=folder, ignore_cleanup_errors=True
    ) as scratch:
        with _datahub(Path(scratch), subtask_id, source, settings or {}) as (emulator, chosen):
            with LocalEngine(plugin, chosen, observers=observers) as engine:
                run = engine.run(subtask_id, config=config)
                on_run(run)
                outcome = run.execute()
            _hand_over(emulator.store.outputs(subtask_id), folder)
            # Nothing of it is kept: waiting for it to end in good order would be wasted time.
            os.kill(emulator.pid, signal.SIGKILL)
        return outcome


@contextmanager
def _datahub(
    scratch: Path, subtask_id: str, source: Path | None, overrides: Mapping[str, Any]
) -> Iterator[tuple[Emulator, Settings]]:
    key, secret = "local", secrets.token_hex(32)
    with Emulator(state_dir=scratch / "datahub", key=key, secret=secret) as emulator:
        emulator.store.create_subtask(subtask_id, input=source)
        yield (
            emulator,
            local_settings(
                overrides,
                base_url=emulator.url,
                api_key=SecretStr(key),
                api_secret=SecretStr(secret),
                state_dir=scratch / "state",
            ),
        )


def _readable(path: Path) -> Path:
    try:
        # Opening a named pipe would wait for its writer.
        reason = None if stat.S_ISREG(path.stat().st_mode) else "it is no regular file"
        if reason is None:
            path.open("rb").close()
    except OSError as error:
        reason = error.strerror
    if reason:
        raise ConfigurationError(
            f"the input {path} cannot be read ({reason}): expected a readable file",
            code=Code.INPUT_UNREADABLE,
        )
    return path.absolute()


def existing(given: Path | str) -> Path:
    """The absolute path of a file that a test gives as input.

    Raises:
        FileNotFoundError: it cannot be found; a text may have been meant as the content.
    """
    path = Path(given)
    with suppress(OSError, ValueError):
        path.stat()
        return path.absolute()
    shown = given if isinstance(given, Path) else f"{given!r:.100}"
    raise FileNotFoundError(
        f"there is no file {shown}: the input is a path; for content give bytes"
    )


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder.resolve()
    except OSError as error:
        raise ConfigurationError(
            f"the output folder {folder} cannot be written ({error.strerror}):"
            " expected a folder, or a path where one can be made",
            code=Code.FOLDER_UNUSABLE,
        ) from None


def _hand_over(outputs: Iterable[Output], folder: Path) -> None:
    """Give the user what was stored; one that does not fit in does not keep the others back."""
    problems = []
    for output in outputs:
        target = folder / inside(output.name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _move(output.path, target)
        except OSError as error:
            problems.append(f"the output {target} cannot be written ({error.strerror})")
    if problems:
        raise ConfigurationError(problems, code=Code.FOLDER_UNUSABLE)


def inside(name: str) -> Path:
    """An output's name as a path that stays in the folder it is put into: names are data."""
    parts = [safe_file_name(part, "_") for part in PurePosixPath(name).parts if part != "/"]
    return Path(*(parts or ["output"]))


def _move(stored: Path, target: Path) -> None:
    try:
        stored.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # A folder below the output folder is on another file system.
        copy = target.with_name(f".{secrets.token_hex(16)}")
        try:
            shutil.copyfile(stored, copy)
            copy.replace(target)
        finally:
            copy.unlink(missing_ok=True)
