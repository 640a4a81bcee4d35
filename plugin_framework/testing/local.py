"""Runs a plugin on a local file, against a Datahub and an object store of its own."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from plugin_framework.emulator.server import Emulator
from plugin_framework.engines.local import LocalEngine
from plugin_framework.errors import ConfigurationError
from plugin_framework.lifecycle.folders import safe_file_name
from plugin_framework.lifecycle.outcome import TaskOutcome
from plugin_framework.lifecycle.runner import Run
from plugin_framework.plugin.base import DatahubPlugin
from plugin_framework.settings import Settings, load_settings


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
    with tempfile.TemporaryDirectory(prefix=".datahub-", dir=folder) as scratch:
        with _datahub(Path(scratch), subtask_id, source, settings or {}) as (emulator, chosen):
            with LocalEngine(plugin, chosen, observers=observers) as engine:
                run = engine.run(subtask_id, config=config)
                on_run(run)
                outcome = run.execute()
            for output in emulator.store.outputs(subtask_id):
                _move(output.path, folder, output.name)
        return outcome


@contextmanager
def _datahub(
    scratch: Path, subtask_id: str, source: Path | None, overrides: Mapping[str, Any]
) -> Iterator[tuple[Emulator, Settings]]:
    key, secret = "local", secrets.token_hex(32)
    with Emulator(state_dir=scratch / "datahub", key=key, secret=secret) as emulator:
        emulator.store.create_subtask(subtask_id, input=source)
        settings = load_settings(
            **{
                **overrides,
                "base_url": emulator.url,
                "api_key": key,
                "api_secret": secret,
                "state_dir": scratch / "state",
                "engine": "local",
            }
        )
        # The environment's hosts and proxy are there to reach another Datahub.
        transfer = settings.transfer.model_copy(update={"allowed_hosts": ()})
        yield emulator, settings.model_copy(update={"transfer": transfer, "proxy": None})


def _readable(path: Path) -> Path:
    try:
        with path.open("rb"):
            return path.resolve()
    except OSError as error:
        raise ConfigurationError(
            f"the input {path} cannot be read ({error.strerror}): expected a readable file"
        ) from None


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder.resolve()
    except OSError as error:
        raise ConfigurationError(
            f"the output folder {folder} cannot be written ({error.strerror}):"
            " expected a folder, or a path where one can be made"
        ) from None


def _move(stored: Path, folder: Path, name: str) -> None:
    """Give the user what was stored under ``name``; names are data, so they stay in the folder."""
    parts = [safe_file_name(part, "_") for part in PurePosixPath(name).parts if part != "/"]
    target = folder.joinpath(*(parts or ["output"]))
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        stored.replace(target)
    except OSError:
        shutil.copyfile(stored, target)
