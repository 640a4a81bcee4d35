"""Sends what waits in the outbox: two lanes for each plugin, so that none waits for another's."""

from __future__ import annotations

import asyncio
import logging

from plugin_framework.emulator.platform.calls import Caller
from plugin_framework.emulator.platform.lanes import (
    LONGEST_PAUSE,
    LOOK_SECONDS,
    CreateLane,
    Lane,
    Sender,
    TellLane,
    happened,
)
from plugin_framework.emulator.platform.outbox import Outbox
from plugin_framework.emulator.platform.registry import Registry

log: logging.Logger = logging.getLogger("datahub.emulator")


class Dispatcher:
    """For one event loop."""

    def __init__(self, outbox: Outbox, registry: Registry, caller: Caller) -> None:
        self._outbox = outbox
        self._sender = Sender(registry, caller)
        self._news = asyncio.Event()
        self._lanes: dict[tuple[type[Lane], str], Lane] = {}

    async def run(self) -> None:
        """Send, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._news.clear()
                try:
                    for plugin in self._outbox.plugins_to_create():
                        self._open(group, CreateLane, plugin)
                    for plugin in self._outbox.plugins_to_tell():
                        self._open(group, TellLane, plugin)
                except Exception:
                    log.exception("the outbox cannot be read; again in %g s", LOOK_SECONDS)
                await happened(self._news, LOOK_SECONDS)

    def nudge(self) -> None:
        """Look now: there is something new."""
        self._news.set()

    def mended(self, plugin: str) -> None:
        """Try now: the plugin's service has become well, or has moved."""
        for (_, name), lane in self._lanes.items():
            if name == plugin:
                lane.mended()

    def _open(self, group: asyncio.TaskGroup, kind: type[Lane], plugin: str) -> None:
        if (kind, plugin) not in self._lanes:
            lane = self._lanes[kind, plugin] = kind(plugin, self._outbox, self._sender)
            group.create_task(self._run(lane, (kind, plugin)))

    async def _run(self, lane: Lane, key: tuple[type[Lane], str]) -> None:
        try:
            await lane.run()
        except Exception:  # such as a full disk
            log.exception("sending to plugin %s broke off; again in %g s", key[1], LONGEST_PAUSE)
            await asyncio.sleep(LONGEST_PAUSE)
        finally:
            del self._lanes[key]
