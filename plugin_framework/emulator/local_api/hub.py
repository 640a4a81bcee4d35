"""What changes, told to all who look on: one reader for however many there are.

Server-sent events, at most two a second to each. What somebody is too slow to take is forgotten,
and they are told to load it anew: nothing is held for them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.concurrency import run_in_threadpool

from plugin_framework.emulator.local_api.answers import as_json
from plugin_framework.emulator.local_api.shapes import brief, counts_json, event_json, line_json
from plugin_framework.emulator.store import Store

TICK_SECONDS: Final = 0.5
KEEP_ALIVE_SECONDS: Final = 15.0
MOST_CHANGES: Final = 1000
"""Tasks, events or lines at a time; of tasks, more than these are not listed but loaded anew."""

_WAITING: Final = 16
_RESET: Final = b"event: reset\ndata: {}\n\n"


@dataclass(eq=False, slots=True)
class Client:
    """Somebody who looks on. They have seen all up to these numbers; ``task`` is one they watch."""

    revision: int
    task: str | None = None
    event: int = 0
    log: int = 0
    is_new: bool = True
    waiting: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(_WAITING))

    def tell(self, message: bytes | None) -> None:
        """Hand over a message; None is the last. For the event loop's thread."""
        try:
            self.waiting.put_nowait(message)
        except asyncio.QueueFull:
            while not self.waiting.empty():
                self.waiting.get_nowait()
            self.waiting.put_nowait(_RESET if message is not None else None)

    @property
    def place(self) -> bytes:
        """The id that a browser sends when it connects again."""
        return f"id: {self.revision}-{self.event}-{self.log}\n".encode()


class Hub:
    """Reads ``store`` while anybody looks on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._clients: set[Client] = set()
        self._reader: asyncio.Task[None] | None = None
        self._flowed: set[str] = set()
        self._taken_at = 0.0
        self._has_ended = False

    async def stream(self, client: Client) -> AsyncGenerator[bytes, None]:
        """What to send, until ``end``."""
        self._clients.add(client)
        if self._has_ended:
            client.tell(None)
        elif self._reader is None:
            self._reader = asyncio.create_task(self._read())
        try:
            while True:
                try:
                    async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                        message = await client.waiting.get()
                except TimeoutError:
                    message = b": keep-alive\n\n"
                if message is None:
                    return
                yield message
        finally:
            self._clients.discard(client)

    def end(self) -> None:
        """End all streams. For the event loop's thread."""
        self._has_ended = True
        for client in self._clients:
            client.tell(None)

    async def _read(self) -> None:
        try:
            while self._clients and not self._has_ended:
                for client, message in await run_in_threadpool(self._news, list(self._clients)):
                    client.tell(message)
                await asyncio.sleep(TICK_SECONDS)
        finally:
            self._reader = None
            for client in self._clients:  # whatever went wrong, they come back and begin anew
                client.tell(None)

    def _news(self, clients: list[Client]) -> list[tuple[Client, bytes]]:
        """What each is to be told now; on a thread, and never on two at once."""
        newest = self._store.revision
        by_revision: dict[int, tuple[int, bytes]] = {}
        rates = self._rates()
        told = []
        for client in clients:
            parts = []
            if client.is_new or client.revision != newest:
                if client.revision not in by_revision:
                    by_revision[client.revision] = self._changes(client.revision)
                client.revision, changes = by_revision[client.revision]
                parts.append(changes)
                client.is_new = False
            if client.task is not None:
                parts += self._of_task(client, client.task)
            if parts:
                parts.append(client.place + b"\n")
            if rates is not None:
                parts.append(rates)
            if parts:
                told.append((client, b"".join(parts)))
        return told

    def _changes(self, revision: int) -> tuple[int, bytes]:
        """The tasks changed since then, and the revision that they make up to."""
        changed = self._store.changed_since(revision, MOST_CHANGES + 1)
        if len(changed) > MOST_CHANGES:
            return self._store.revision, _RESET
        now = time.time()
        content = {
            "tasks": [brief(subtask, now) for subtask in changed],
            "counts": counts_json(self._store.counts()),
        }
        return (changed[-1].revision if changed else revision), _message("tasks", content)

    def _of_task(self, client: Client, task: str) -> list[bytes]:
        parts = []
        if events := self._store.events(task, client.event, MOST_CHANGES):
            client.event = events[-1].number
            parts.append(_message("events", [event_json(event) for event in events]))
        if lines := self._store.logs(task, client.log, MOST_CHANGES):
            client.log = lines[-1].number
            parts.append(_message("logs", [line_json(line) for line in lines]))
        return parts

    def _rates(self) -> bytes | None:
        """Bytes per second since the last time; None where nothing flows and nothing did."""
        now = time.monotonic()
        seconds = max(now - self._taken_at, TICK_SECONDS)
        taken = self._store.meter.take()
        self._taken_at = now
        if not taken and not self._flowed:
            return None
        owners = self._store.meter.owners({key for key, _ in taken})
        rates: dict[str, dict[str, int]] = {}
        for (key, kind), count in taken.items():
            if key in owners:
                rate = rates.setdefault(owners[key], {"up": 0, "down": 0})
                rate["up" if kind == "put" else "down"] += round(count / seconds)
        stopped: Mapping[str, Any] = {
            task: {"up": 0, "down": 0} for task in self._flowed - rates.keys()
        }
        self._flowed = set(rates)
        return _message("rates", {**stopped, **rates})


def _message(name: str, content: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), as_json(content))
