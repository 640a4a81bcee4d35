"""Datahub's half of the protocol (PROTOCOL.md, part 2), on a thread of its own."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, Self, TypeVar

import httpx

from plugin_framework.emulator.api import Credentials
from plugin_framework.emulator.chaos import Chaos
from plugin_framework.emulator.chaos.outgoing import ChaosTransport
from plugin_framework.emulator.platform.addresses import service_address
from plugin_framework.emulator.platform.calls import Caller, CallError
from plugin_framework.emulator.platform.dispatcher import Dispatcher
from plugin_framework.emulator.platform.outbox import Outbox
from plugin_framework.emulator.platform.registry import Plugin, Registry
from plugin_framework.emulator.platform.watch import BAD_GATEWAY, Health, Silence, is_plain
from plugin_framework.emulator.rules import BAD_REQUEST, Refused
from plugin_framework.emulator.settings import LOST_SECONDS
from plugin_framework.emulator.store import Assignment, Store
from plugin_framework.emulator.subtasks import Subtask
from plugin_framework.protocol.models import TaskStatus

SCRIPT_LIMIT: Final = 2 * 1024 * 1024
"""Bytes of a plugin's config.js."""

SCRIPT_SECONDS: Final = 5.0

WAIT_SECONDS: Final = 30.0
"""Longer than any call takes: only an end that breaks it off is waited for in vain."""

UNAVAILABLE: Final = 503

T = TypeVar("T")


class Platform:
    """Registers plugin services, sends them subtasks and orders, and watches them.

    ``credentials`` sign every call; without them nothing is signed. ``lost_after`` is in seconds.
    Only services of this machine are called unless ``allow_remote``. Methods are for any thread
    but the event loop's of a server: they wait. All of it is in the store, so that another
    Platform goes on where this one ended, whichever way it ended. ``chaos`` is what goes wrong.
    """

    def __init__(
        self,
        store: Store,
        credentials: Credentials | None,
        *,
        lost_after: float = LOST_SECONDS,
        allow_remote: bool = False,
        chaos: Chaos | None = None,
    ) -> None:
        self._store = store
        self._chaos = chaos
        self._credentials = credentials
        self._lost_after = lost_after
        self._allow_remote = allow_remote
        self._registry = Registry(store.database)
        self._thread = threading.Thread(target=self._run, daemon=True, name="platform")
        self._ready: Future[None] = Future()

    def __enter__(self) -> Self:
        """Begin."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self.close()

    def start(self) -> None:
        """Go on with what waits.

        Raises:
            OSError: no more files can be opened.
        """
        self._thread.start()
        self._ready.result()

    def close(self) -> None:
        """Break off what is under way; it is sent again by whoever goes on."""
        if self._thread.is_alive():
            self._call_soon(self._stop.set)
            self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)  # it is raised where the beginning is waited for

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._caller = Caller(self._credentials, self._faulty)
        self._dispatcher = Dispatcher(Outbox(self._store.database), self._registry, self._caller)
        self._health = Health(self._registry, self._caller, self._dispatcher.mended)
        silence = Silence(self._store.database, self._lost_after)
        parts = [
            asyncio.create_task(part.run()) for part in (self._dispatcher, self._health, silence)
        ]
        self._ready.set_result(None)
        await self._stop.wait()
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        await self._caller.close()

    def _faulty(self, inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        if self._chaos is None:
            return inner
        return ChaosTransport(inner, self._chaos, self._store.faults)

    # Services

    def add_service(self, url: str) -> list[Plugin]:
        """Register a service; its plugins.

        Raises:
            Refused: with code 400 for a URL that cannot be one, 502 where no service answers.
        """
        service = service_address(url, allow_remote=self._allow_remote)
        known = service in self._registry.services()
        self._registry.add(service)
        try:
            found = self._wait_for(self._health.ask(service))
        except Refused:
            if not known:
                self._registry.remove(service)
            raise
        names = {plugin.name for plugin in found}
        return [plugin for plugin in self.plugins() if plugin.name in names]

    def expect_service(self, url: str) -> None:
        """Register a service that may not be there yet; its plugins are known once it is.

        Raises:
            Refused: with code 400 for a URL that cannot be one.
        """
        self._registry.add(service_address(url, allow_remote=self._allow_remote))
        self._call_soon(self._health.nudge)

    def remove_service(self, url: str) -> None:
        """Forget a service. What waits for its plugins waits for another that has them.

        Raises:
            Refused: with code 404, where it is not registered.
        """
        self._registry.remove(service_address(url, allow_remote=True))

    def services(self) -> dict[str, str | None]:
        """The problem of each registered service, by its URL; None for one that is well."""
        problems = self._health.problems
        return {
            service: problems.get(service, "it was not asked yet") or None
            for service in self._registry.services()
        }

    def plugins(self) -> list[Plugin]:
        """All plugins there are, by name, and how their services are."""
        services = self.services()
        return [
            replace(plugin, healthy=problem is None, problem=problem)
            for plugin in self._registry.plugins()
            for problem in (services.get(plugin.service),)
        ]

    def script(self, plugin: str) -> str:
        """The plugin's config.js (PROTOCOL.md, 2.6).

        Raises:
            Refused: with code 404 for an unknown plugin, 502 where there is no such script.
        """
        base = self._registry.plugin(plugin).base
        ask = self._caller.get(f"{base}/config.js", {}, seconds=SCRIPT_SECONDS, limit=SCRIPT_LIMIT)
        try:
            answer = self._wait_for(ask)
            if answer.status != 200:  # noqa: PLR2004 - HTTP's success
                raise Refused(f"{base}/config.js answers HTTP {answer.status}", BAD_GATEWAY)
            return answer.body.decode()
        except CallError as error:
            raise Refused(f"{base}/config.js: {error}", BAD_GATEWAY) from None
        except UnicodeDecodeError:
            raise Refused(f"{base}/config.js is not UTF-8", BAD_GATEWAY) from None

    # Subtasks

    def create_task(
        self,
        plugin: str,
        config: Mapping[str, Any],
        *,
        input: str | None = None,  # noqa: A002 - as in Store
        subtask_id: str | None = None,
        task_id: str | None = None,
    ) -> Subtask:
        """Create a subtask, whose create_task is sent until the service has answered it.

        ``input`` is the id of one of the store's ``inputs``. Ids are made up where not given.

        Raises:
            Refused: no such plugin or input, an id that is taken, or that cannot be one.
        """
        chosen = self._registry.plugin(plugin)
        subtask_id = subtask_id or f"task_{secrets.token_hex(8)}"
        if not all(map(is_plain, (subtask_id, task_id or subtask_id))):
            raise Refused("an id has 1 to 200 printable characters, and no slash", BAD_REQUEST)
        try:
            subtask = self._store.create_subtask(
                subtask_id,
                task_id=task_id,
                input=input,
                config=config,
                assignment=Assignment(chosen.name, chosen.service),
            )
        except ValueError as error:
            raise Refused(str(error)) from None
        self._call_soon(self._dispatcher.nudge)
        return subtask

    def manage(self, subtask_id: str, status: TaskStatus) -> Subtask:
        """Ask for a status as ``Store.set_status``, and have the service told.

        Raises:
            Refused: unknown or ended subtask, or a status nobody can ask for.
        """
        self._store.set_status(subtask_id, status)
        self._call_soon(self._dispatcher.nudge)
        return self._store.subtask(subtask_id)

    def _wait_for(self, asked: Coroutine[Any, Any, T]) -> T:
        try:
            return asyncio.run_coroutine_threadsafe(asked, self._loop).result(WAIT_SECONDS)
        except (CancelledError, RuntimeError, TimeoutError):
            asked.close()
            raise Refused("the local Datahub is ending", UNAVAILABLE) from None

    def _call_soon(self, call: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # it has ended; what is kept goes on at the next start
            self._loop.call_soon_threadsafe(call)
