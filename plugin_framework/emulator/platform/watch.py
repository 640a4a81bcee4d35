"""Watches services, by their health check, and subtasks, by what their plugins send."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from plugin_framework.emulator.database import Database
from plugin_framework.emulator.platform.answers import clean, envelope_of, json_object
from plugin_framework.emulator.platform.calls import Answer, Caller, CallError
from plugin_framework.emulator.platform.lanes import happened
from plugin_framework.emulator.platform.registry import Plugin, Registry
from plugin_framework.emulator.rules import Refused
from plugin_framework.emulator.subtasks import mark_lost

HEALTH_SECONDS: Final = 5.0
"""Between two health checks of services that are well, and how long one may take."""

UNWELL_SECONDS: Final = 1.0
"""Between two where one of them is not."""

LONGEST_NAME: Final = 200
BAD_GATEWAY: Final = 502
_LOST_AT_ONCE: Final = 200

log: logging.Logger = logging.getLogger("datahub.emulator")


class Health:
    """Asks services what they have; ``on_change`` gets the plugins that can be reached anew."""

    def __init__(
        self, registry: Registry, caller: Caller, on_change: Callable[[str], None]
    ) -> None:
        self._registry = registry
        self._caller = caller
        self._on_change = on_change
        self._news = asyncio.Event()
        self.problems: dict[str, str] = {}
        """By service; empty where it is well, missing where it was not asked yet."""

    async def run(self) -> None:
        """Check all services, side by side, until cancelled."""
        while True:
            self._news.clear()
            try:
                well = await asyncio.gather(*map(self._check, self._registry.services()))
            except Exception:
                log.exception("services cannot be checked; again in %g s", HEALTH_SECONDS)
                well = []
            await happened(self._news, HEALTH_SECONDS if all(well) else UNWELL_SECONDS)

    def nudge(self) -> None:
        """Check now: there is a new service."""
        self._news.set()

    async def ask(self, service: str) -> list[Plugin]:
        """What a service has, which the registry knows from then on.

        Raises:
            Refused: with code 502, where it does not answer as a plugin service.
        """
        plugins, status = await self._plugins(service)
        before = {plugin.name: plugin.base for plugin in self._registry.plugins()}
        self._registry.update(service, plugins)
        was_well = self.problems.get(service) == ""
        self.problems[service] = "" if status in {"healthy", ""} else status
        for plugin in plugins:
            if not was_well or before.get(plugin.name) != plugin.base:
                self._on_change(plugin.name)
        return plugins

    async def _check(self, service: str) -> bool:
        try:
            await self.ask(service)
        except Refused as refused:
            self.problems[service] = refused.message
        return not self.problems[service]

    async def _plugins(self, service: str) -> tuple[list[Plugin], str]:
        query = {"timestamp": str(int(time.time()))}
        try:
            answer = await self._caller.get(
                f"{service}/api/plugin/health", query, seconds=HEALTH_SECONDS
            )
        except CallError as error:
            raise _unwell(service, str(error)) from None
        given = _healthy_answer(service, answer)
        several = given.get("plugins")
        listed = several if isinstance(several, list) and several else [given.get("plugin")]
        plugins = [_plugin(service, facts, several=listed is several) for facts in listed]
        status = given.get("status")
        return plugins, clean(status) if isinstance(status, str) else ""


def _healthy_answer(service: str, answer: Answer) -> dict[str, Any]:
    envelope, given = envelope_of(answer.body), json_object(answer.body)
    if envelope is None or given is None or answer.status != 200:  # noqa: PLR2004 - HTTP's success
        said = f": {clean(envelope.msg)}" if envelope is not None and envelope.msg else ""
        raise _unwell(service, f"its health check answers HTTP {answer.status}{said}")
    if envelope.code != 0:
        raise _unwell(service, f"its health check answers {envelope.code}: {clean(envelope.msg)}")
    data = given.get("data")
    return {**data, **given} if isinstance(data, dict) else given


def _plugin(service: str, facts: object, *, several: bool) -> Plugin:
    name = facts.get("plugin_id") if isinstance(facts, dict) else None
    if not isinstance(name, str) or not is_plain(name):
        raise _unwell(service, "its health check names no plugin_id")
    version = facts.get("version") if isinstance(facts, dict) else None
    base = f"{service}/{quote(name, safe='')}" if several else service
    return Plugin(name, clean(version) if isinstance(version, str) else "", service, base)


def is_plain(name: str) -> bool:
    """Whether a name or an id can be part of a URL's path."""
    return 0 < len(name) <= LONGEST_NAME and name.isprintable() and not set(name) & set("/\\")


def _unwell(service: str, problem: str) -> Refused:
    return Refused(f"the service {service}: {problem}", BAD_GATEWAY)


class Silence:
    """Marks subtasks lost from which nothing came for ``seconds``.

    Silence counts from when we could have heard: not while we were not there, or the machine
    slept.
    """

    def __init__(self, database: Database, seconds: float) -> None:
        self._database = database
        self._seconds = seconds
        self._interval = min(max(seconds / 8, 0.05), 5.0)

    async def run(self) -> None:
        """Look, until cancelled."""
        last = listening_since = time.time()
        while True:
            await asyncio.sleep(self._interval)
            now = time.time()
            if not 0 <= now - last < self._seconds / 2 + self._interval:
                listening_since = now
            last = now
            if now - listening_since > self._seconds:
                self._mark(now - self._seconds)

    def _mark(self, before: float) -> None:
        try:
            marked = _LOST_AT_ONCE
            while marked == _LOST_AT_ONCE:  # in steps, between which others write
                with self._database.transaction() as sql:
                    marked = mark_lost(sql, before, _LOST_AT_ONCE)
        except Exception:
            log.exception("lost subtasks cannot be marked")
