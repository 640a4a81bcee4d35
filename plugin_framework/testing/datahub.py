"""A Datahub with storage, in this process, that plugins are run against in tests."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, Unpack

from pydantic import SecretStr

from plugin_framework.emulator.api import Credentials
from plugin_framework.emulator.app import create_app
from plugin_framework.emulator.chaos import Chaos
from plugin_framework.emulator.store import Store
from plugin_framework.engines.local import JOURNAL
from plugin_framework.journal.journal import Journal
from plugin_framework.lifecycle.folders import make_work_dir
from plugin_framework.plugin.base import DatahubPlugin
from plugin_framework.settings import Settings
from plugin_framework.testing.clock import Clock
from plugin_framework.testing.local import existing
from plugin_framework.testing.settings import given_settings
from plugin_framework.testing.stops import Kind, Place
from plugin_framework.testing.task_run import Hub, Plan, TaskRun
from plugin_framework.testing.web import Request, Web

Input = Path | str | bytes | None

_MEMORY = "/dev/shm"  # noqa: S108 - files are made by mkdtemp there
_USUAL = {"/tmp", "/var/tmp", "/usr/tmp"}  # noqa: S108 - only compared
_ENOUGH = 1024**3
"""Bytes that must be free in memory for files to be kept there."""

_QUICK: Mapping[str, Any] = {"heartbeat_seconds": 1, "poll_seconds": 1, "grace_seconds": 5}
"""Settings that nobody likes to wait for; a clock that is moved on has no need of them."""


class RunOptions(TypedDict, total=False):
    """How a plugin is run; see ``LocalDatahub.start``."""

    input: Input
    input_name: str | None
    config: Mapping[str, Any] | None
    isolation: Literal["thread", "process"]
    settings: Mapping[str, Any] | None
    extensions: Sequence[object]
    state: Mapping[str, Any] | None
    subtask_id: str | None
    timeout: float
    cancel_at: Place | None
    kill_at: Place | None


class LocalDatahub:
    """A Datahub of a test's own: API and storage, at an address on loopback.

    Use it in a ``with`` block, or call ``close``. ``web`` is where to serve it, for one at a time.
    With a ``clock``, the runs go by it. Files are kept in memory (``/dev/shm``) where 1 GiB is free
    there; a ``TMPDIR`` that is set is taken instead.

    Attributes:
        url: its address.
        store: its state, to look at.
    """

    def __init__(self, web: Web | None = None, *, clock: Clock | None = None) -> None:
        # A short path: addresses of sockets below it may have a hundred characters.
        self._folder = Path(tempfile.mkdtemp(prefix="datahub-", dir=_place()))
        self._numbers = itertools.count(1)
        self._runs: list[TaskRun] = []
        self._own_web = web is None
        self._web = web or Web()
        self._key, self._secret = "local", secrets.token_hex(32)
        self._chaos = Chaos()
        self.url: str = self._web.url
        self.store: Store = Store(self._folder / "datahub")
        app = create_app(
            self.store,
            credentials=Credentials(self._key, self._secret),
            public_url=self.url,
            chaos=self._chaos,
        )
        self._web.serve(app)
        self._hub = Hub(self.store, self._web, clock)
        # Runs that have ended show what is there: it stays until nobody knows them any more.
        weakref.finalize(self._hub, _remove, self.store, self._folder)
        self._requests = self._web.requests

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LocalDatahub: {self._runs!r}>"

    def close(self) -> None:
        """End what still runs, and the server; what runs have shown can still be looked at."""
        self._chaos.clear()
        for run in self._runs:
            run.stop()
        self._web.serve(None)
        if self._own_web:
            self._web.close()

    @property
    def requests(self) -> list[Request]:
        """All calls of the API, in order."""
        return list(self._requests)

    def start(
        self,
        plugin: type[DatahubPlugin] | str,
        *,
        input: Input = None,  # noqa: A002 - the word authors expect
        input_name: str | None = None,
        config: Mapping[str, Any] | None = None,
        isolation: Literal["thread", "process"] = "thread",
        settings: Mapping[str, Any] | None = None,
        extensions: Sequence[object] = (),
        state: Mapping[str, Any] | None = None,
        subtask_id: str | None = None,
        timeout: float = 60,
        pause_at: Place | None = None,
        cancel_at: Place | None = None,
        kill_at: Place | None = None,
    ) -> TaskRun:
        """Start a run of a subtask made for it, and return it while it runs.

        With ``pause_at`` it is paused when this returns. Settings are those of ``DATAHUB_`` without
        the prefix, and nothing else is read: neither the environment nor a file. Nor do
        extensions take part that are installed, but these alone; in a process of the plugin's own,
        one is made anew there, of its class.

        Args:
            input: the file that ``ctx.download()`` fetches, a path; ``bytes`` are its content.
            input_name: what Datahub calls it; else its own name, or ``input``.
            state: what an attempt before this one has saved.
            timeout: seconds that waiting for this run takes at the most.
            pause_at, cancel_at, kill_at: a checkpoint, as ``TaskRun`` says.

        Raises:
            ConfigurationError: the plugin or a setting is not usable.
            FileNotFoundError: there is no file ``input``.
            AssertionError: it came to no checkpoint ``pause_at``.
        """
        subtask_id = subtask_id or f"subtask-{next(self._numbers)}"
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=self._folder))
        source = _file_of(input, folder)
        name = input_name or ("input" if isinstance(input, bytes) else None)
        self.store.create_subtask(subtask_id, input=source, file_name=name, config=config)
        chosen = self._settings(settings or {}, isolation, folder / "state")
        if state is not None:
            _save(chosen.state_dir, subtask_id, state)
        plan = Plan(
            plugin=plugin,
            subtask_id=subtask_id,
            config=config or {},
            isolation=isolation,
            settings=chosen,
            extensions=tuple(extensions),
            folder=folder,
            timeout=timeout,
        )
        orders: dict[Kind, Place | None] = {"pause": pause_at, "cancel": cancel_at, "kill": kill_at}
        run = TaskRun(self._hub, plan, orders)
        self._runs.append(run)
        if pause_at is not None:
            run.await_pause(pause_at)
        return run

    def run(self, plugin: type[DatahubPlugin] | str, **options: Unpack[RunOptions]) -> TaskRun:
        """Start a run, wait for its end, and return it. Options are those of ``start``.

        Raises:
            TimeoutError: it did not end in time; it is made to.
        """
        run = self.start(plugin, **options)
        try:
            return run.wait()
        finally:
            run.stop()

    @contextmanager
    def faults(self, *rules: Mapping[str, Any], seed: int = 0, **rule: Any) -> Iterator[Chaos]:
        """Let things go wrong while the block lasts, as rules of chaos say.

        One may be given by its fields: ``faults(fault="status", call="heartbeat", status=503)``.

        Raises:
            ConfigurationError: with a line for each mistake in the rules.
        """
        before = self._chaos.as_json()
        chosen = [*rules, rule] if rule else list(rules)
        self._chaos.set({"seed": seed, "rules": [*before["rules"], *chosen]}, keep=True)
        try:
            yield self._chaos
        finally:
            self._chaos.set(before, keep=True)

    def _settings(
        self, given: Mapping[str, Any], isolation: Literal["thread", "process"], state_dir: Path
    ) -> Settings:
        usual = {} if self._hub.clock is not None else _QUICK
        return given_settings(
            {**usual, **given, "isolation": isolation, "on_shutdown": "leave"},
            base_url=self.url,
            api_key=SecretStr(self._key),
            api_secret=SecretStr(self._secret),
            state_dir=state_dir,
        )


def run_plugin(plugin: type[DatahubPlugin] | str, **options: Unpack[RunOptions]) -> TaskRun:
    """Run a plugin to its end against a Datahub made for it, and return the run.

    Options are those of ``LocalDatahub.start``.

    Raises:
        ConfigurationError: the plugin, its config or a setting is not usable.
        TimeoutError: it did not end in time; it is made to.
    """
    with LocalDatahub() as datahub:
        return datahub.run(plugin, **options)


def _place() -> str | None:
    """Where files are kept: in memory, where writes wait for no disk, or as ``TMPDIR`` says."""
    try:
        roomy = shutil.disk_usage(_MEMORY).free > _ENOUGH
    except OSError:
        roomy = False
    chosen = tempfile.gettempdir() not in _USUAL
    return _MEMORY if roomy and not chosen and os.access(_MEMORY, os.W_OK) else None


def _remove(store: Store, folder: Path) -> None:
    store.close()
    shutil.rmtree(folder, ignore_errors=True)


def _file_of(given: Input, folder: Path) -> Path | None:
    if given is None:
        return None
    if not isinstance(given, bytes):
        return existing(given)
    file = folder / "input"
    file.write_bytes(given)
    return file


def _save(state_dir: Path, subtask_id: str, state: Mapping[str, Any]) -> None:
    """Leave what an attempt leaves behind that was broken off."""
    with closing(Journal(state_dir / JOURNAL)) as journal:
        make_work_dir(state_dir, subtask_id)
        journal.start_attempt(subtask_id, task_id=None, plugin="", config={})
        journal.save_state(subtask_id, state)
