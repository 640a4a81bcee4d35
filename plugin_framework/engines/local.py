"""Runs subtasks on this machine."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import SecretStr

from plugin_framework.errors import Code, ConfigurationError
from plugin_framework.isolation.process import ProcessIsolation
from plugin_framework.isolation.thread import ThreadIsolation
from plugin_framework.journal.journal import Journal
from plugin_framework.lifecycle.clock import REAL, Clock
from plugin_framework.lifecycle.heartbeat import Ticker, Ticking
from plugin_framework.lifecycle.observers import Observers
from plugin_framework.lifecycle.outcome import TaskOutcome
from plugin_framework.lifecycle.polling import Polls
from plugin_framework.lifecycle.progress import Highest
from plugin_framework.lifecycle.runner import Run
from plugin_framework.lifecycle.supervisor import RunJournal, Supervisor, Task, time_limit
from plugin_framework.plugin.base import DatahubPlugin
from plugin_framework.plugin.loader import (
    ExtensionRef,
    PluginRef,
    find_plugin,
    load_extensions,
    ref_of,
)
from plugin_framework.protocol.caller import Guard
from plugin_framework.protocol.client import DatahubClient
from plugin_framework.protocol.credentials import Credentials
from plugin_framework.settings import Settings, load_settings, secret_variables
from plugin_framework.transfer.address import kind_of
from plugin_framework.transfer.engine import Engine, EngineOptions

JOURNAL = "journal.sqlite3"

START_SECONDS = 10.0
"""How long one of many subtasks tries to reach Datahub at its start, before it is put off."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one attempt has of its own, in place of what the subtasks of this machine share.

    See ``lifecycle.supervisor.Supervisor`` and ``Task``. ``guard`` is asked before each call of
    Datahub that its run makes.
    """

    guard: Guard
    journal: RunJournal
    make_work_dir: Callable[[Path, str], bool]
    highest: Callable[[Path], Highest]
    node: str
    taken_over: bool
    place: str = ""


class LocalEngine:
    """A supervisor for one plugin: everything its subtasks share, made once.

    ``plugin`` is a class, or what ``datahub-plugin run`` takes. ``extensions`` are in place of the
    installed ones, and ``observers`` are beside them, without the hooks of tasks. An engine
    ``beside`` another shares all that is not its plugin's with that one, and is closed first. Its
    runs go by the ``clock``, and their periodic calls are the ``ticker``'s.

    Raises:
        ConfigurationError: no such plugin, or a setting is missing.
        JournalError: the journal cannot be used.
    """

    def __init__(
        self,
        plugin: type[DatahubPlugin] | str,
        settings: Settings,
        *,
        observers: Mapping[str, object] | None = None,
        extensions: Mapping[str, object] | None = None,
        clock: Clock = REAL,
        ticker: Ticking | None = None,
        beside: LocalEngine | None = None,
    ) -> None:
        base_url = settings.require_datahub()
        self.ref: PluginRef = find_plugin(plugin) if isinstance(plugin, str) else ref_of(plugin)
        with ExitStack() as made:
            # First, so that the plugin is imported while the rest is made.
            isolation = made.enter_context(
                closing(_isolation(self.ref, plugin, settings, extensions))
            )
            if beside is None:
                kept = load_extensions() if extensions is None else extensions
                observing = {**kept, **(observers or {})}
                journal = made.enter_context(closing(Journal(settings.state_dir / JOURNAL)))
                self._journal: Journal = journal
                self._supervisor = _supervisor(
                    made, base_url, settings, journal, observing, clock, ticker or Ticker()
                )
            else:
                self._supervisor = beside._supervisor  # noqa: SLF001 - our own class
                self._journal = beside.journal
            self._isolation = _as_the_plugin_wants(isolation, settings, extensions)
            # Entered last, so as to end first: what it runs needs all the others.
            made.enter_context(closing(self._isolation))
            self._made = made.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self,
        subtask_id: str,
        *,
        task_id: str | None = None,
        config: Mapping[str, Any] | None = None,
        attempt: Attempt | None = None,
    ) -> Run:
        """A run of a subtask, yet to be executed; for a cluster, as the ``attempt`` says."""
        task = Task(subtask_id, task_id, self.ref.name, config or {})
        if attempt is None:
            return Run(self._supervisor, self._isolation, task)
        supervisor = replace(
            self._supervisor,
            client=self.client.guarded(attempt.guard),
            journal=attempt.journal,
            make_work_dir=attempt.make_work_dir,
            highest=attempt.highest,
        )
        task = replace(task, node=attempt.node, taken_over=attempt.taken_over, place=attempt.place)
        return Run(supervisor, self._isolation, task)

    @property
    def journal(self) -> Journal:
        """What all its subtasks are kept in."""
        return self._journal

    @property
    def client(self) -> DatahubClient:
        """What calls Datahub."""
        return self._supervisor.client

    @property
    def hooks(self) -> frozenset[str]:
        """The hooks that the plugin implements, once it is imported."""
        return frozenset(self._isolation.info()["hooks"])

    @property
    def version(self) -> str:
        """The plugin's, else its distribution's, once it is imported; perhaps empty."""
        return str(self._isolation.info()["version"] or self.ref.version)

    @property
    def resources(self) -> Mapping[str, Any]:
        """What the plugin needs of a machine, once it is imported."""
        needs: Mapping[str, Any] = self._isolation.info()["resources"]
        return needs

    @property
    def time_limit(self) -> float:
        """Seconds that an attempt may take, once the plugin is imported; 0 for any time."""
        return time_limit(self._supervisor.settings, self._isolation)

    def check(self, config: Mapping[str, Any]) -> None:
        """Validate a config where the plugin is.

        Raises:
            PluginLoadError: the plugin cannot be imported.
            InvalidConfigError: with one line for each field that is wrong.
        """
        self._isolation.check(config)

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the plugin's config.

        Raises:
            PluginLoadError: the plugin cannot be imported.
        """
        return self._isolation.schema()

    def payment(self, tx_hash: str, subtask_id: str, *, seconds: float) -> bool:
        """Ask the plugin whether a payment is accepted.

        Raises:
            TaskError: the hook failed, or took longer than ``seconds``.
            PluginLoadError: the plugin cannot be imported.
        """
        return self._isolation.payment(tx_hash, subtask_id, seconds=seconds)

    def close(self) -> None:
        """End the plugin's processes and close all connections."""
        self._made.close()


def run_task(
    plugin: type[DatahubPlugin] | str,
    *,
    subtask_id: str,
    task_id: str | None = None,
    settings: Settings | None = None,
    config: Mapping[str, Any] | None = None,
) -> TaskOutcome:
    """Run one subtask against Datahub, as ``datahub-plugin run`` does, and return its outcome.

    Settings come from the environment unless given.

    Raises:
        ConfigurationError: a setting, the plugin or the config is not usable.
        RetryableError, FinalError: Datahub could not be told of the start; nothing was run.
        TaskLockedError: the subtask is running on this machine already.
        JournalError: the journal cannot be used.
    """
    with LocalEngine(plugin, settings or load_settings()) as engine:
        return engine.run(subtask_id, task_id=task_id, config=config).execute()


def _supervisor(
    made: ExitStack,
    base_url: str,
    settings: Settings,
    journal: Journal,
    observers: Mapping[str, object],
    clock: Clock,
    ticker: Ticking,
) -> Supervisor:
    client = made.enter_context(closing(datahub_client(base_url, settings)))
    made.enter_context(closing(ticker))
    return Supervisor(
        settings=settings,
        journal=journal,
        client=client,
        engine=made.enter_context(closing(Engine(_engine_options(base_url, settings)))),
        observer=made.enter_context(closing(Observers(observers))),
        ticker=ticker,
        polls=Polls(client, ticker, settings.poll_seconds),
        clock=clock,
    )


def _isolation(
    ref: PluginRef,
    plugin: type[DatahubPlugin] | str,
    settings: Settings,
    extensions: Mapping[str, object] | None,
) -> ProcessIsolation | ThreadIsolation:
    known = plugin if isinstance(plugin, type) else None
    chosen = settings.isolation
    if "isolation" not in settings.model_fields_set and known is not None:
        chosen = known.isolation or chosen
    if chosen == "thread":
        return ThreadIsolation(ref, known, extensions)
    return ProcessIsolation(ref, secrets=secret_variables(), extensions=_refs(extensions))


def _refs(extensions: Mapping[str, object] | None) -> dict[str, ExtensionRef] | None:
    if extensions is None:
        return None
    return {
        name: each if isinstance(each, ExtensionRef) else ExtensionRef.of(each)
        for name, each in extensions.items()
    }


def _as_the_plugin_wants(
    isolation: ProcessIsolation | ThreadIsolation,
    settings: Settings,
    extensions: Mapping[str, object] | None,
) -> ProcessIsolation | ThreadIsolation:
    """A thread, where the plugin asks for it and the settings say nothing; waits for its import."""
    if isinstance(isolation, ThreadIsolation) or "isolation" in settings.model_fields_set:
        return isolation
    if isolation.info()["isolation"] != "thread":
        return isolation
    isolation.close()
    return ThreadIsolation(isolation.ref, extensions=extensions)


def engines_of(
    made: ExitStack,
    names: Sequence[str],
    settings: Settings,
    *,
    observers: Mapping[str, object] | None = None,
) -> dict[str, LocalEngine]:
    """The engines of these plugins, by name; they end with what they are ``made`` in.

    What cannot be started there is put off soon, for others wait for its slot.

    Raises:
        ConfigurationError: a plugin is given twice, cannot be found, or a setting is missing.
        JournalError: the journal cannot be used.
    """
    engines: dict[str, LocalEngine] = {}
    patience = min(settings.startup_deadline, START_SECONDS)
    settings = settings.model_copy(update={"startup_deadline": patience})
    for name in names:
        first = next(iter(engines.values()), None)
        engine = LocalEngine(name, settings, observers=observers, beside=first)
        made.enter_context(engine)
        if engine.ref.name in engines:
            raise ConfigurationError(
                f"plugin {engine.ref.name} is given twice", code=Code.PLUGIN_AMBIGUOUS
            )
        engines[engine.ref.name] = engine
    return engines


def datahub_client(base_url: str, settings: Settings) -> DatahubClient:
    """Datahub's API, called as the settings say."""
    return DatahubClient(
        base_url,
        credentials=Credentials(_plain(settings.api_key), settings.api_secret, settings.token),
        connect_timeout=settings.connect_timeout,
        request_deadline=settings.request_deadline,
        ca_bundle=settings.ca_bundle,
        proxy=_plain(settings.proxy),
        upload_fields=settings.upload_fields,
    )


def _engine_options(base_url: str, settings: Settings) -> EngineOptions:
    return EngineOptions(
        connect_timeout=settings.connect_timeout,
        ca_bundle=settings.ca_bundle,
        proxy=_plain(settings.proxy),
        bandwidth=settings.transfer.bandwidth,
        concurrency=settings.transfer.concurrency,
        process_concurrency=settings.transfer.process_concurrency,
        allowed_hosts=settings.transfer.allowed_hosts,
        allow_private=is_local(base_url),
    )


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def is_local(base_url: str | None) -> bool:
    """Whether Datahub itself is on a loopback or private address, so that storage may be too."""
    host = urlsplit(base_url or "").hostname or ""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(kind_of(str(entry[4][0])) == "local" for entry in found)
