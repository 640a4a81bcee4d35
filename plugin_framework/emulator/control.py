"""The page, and what drives plugin services: made when first asked for.

A run on a local file asks for none of it, and should not wait for its imports.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from plugin_framework.emulator.chaos import Chaos
from plugin_framework.emulator.settings import ServerSettings
from plugin_framework.emulator.store import Store

if TYPE_CHECKING:
    from plugin_framework.emulator.local_api import LocalApi


class Control:
    """The ASGI application of the page and of ``/local/``; ``url`` is where it is served."""

    def __init__(self, settings: ServerSettings, store: Store, chaos: Chaos, url: str) -> None:
        self._settings = settings
        self._store = store
        self._url = url
        self._chaos = chaos
        self._lock = threading.Lock()
        self._made: LocalApi | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._made is None:
            await run_in_threadpool(self.make)
        assert self._made is not None
        await self._made.app(scope, receive, send)

    def make(self) -> LocalApi:
        """Begin to watch and to drive, if that has not begun."""
        from plugin_framework.emulator.local_api import LocalApi  # noqa: PLC0415 - see above

        with self._lock:
            made = self._made or LocalApi(self._settings, self._store, self._chaos, self._url)
            self._made = made
            return made

    def end_streams(self) -> None:
        """End the answers that would never end by themselves. For the event loop's thread."""
        if self._made is not None:
            self._made.end_streams()

    def close(self) -> None:
        """End what was begun."""
        with self._lock:
            if self._made is not None:
                self._made.close()
