"""Tells extensions what happens, on a thread that delays nothing."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Mapping
from typing import Any

from plugin_framework.plugin.hookspecs import OBSERVER_HOOKS
from plugin_framework.plugin.manager import observer_manager

FLUSH_SECONDS = 5.0
"""How long an observer may take to catch up when the supervisor closes."""


TOLD = "datahub_told"
MOST_TOLD = 10_000
MOST_TOLD_BYTES = 16 * 1024 * 1024
"""Events that may be queued, and bytes of JSON in what plugins tell, before that is left out."""


class Observers:
    """The extensions that observe, called in order, one event after the other."""

    def __init__(self, extensions: Mapping[str, object]) -> None:
        self._hooks = observer_manager(extensions).hook
        self._wanted = {
            name for name in OBSERVER_HOOKS if getattr(self._hooks, name).get_hookimpls()
        }
        self._events: queue.SimpleQueue[tuple[str, dict[str, Any], int] | None] = (
            queue.SimpleQueue()
        )
        self._told, self._lock = 0, threading.Lock()  # bytes that are queued
        self._thread = threading.Thread(target=self._run, daemon=True, name="observers")
        if self._wanted:
            self._thread.start()

    def tell(self, hook: str, **facts: Any) -> None:
        """Queue an event, if anyone wants it."""
        if hook not in self._wanted:
            return
        size = len(json.dumps(facts["facts"])) if hook == TOLD else 0
        if not size or self._take_room(size):
            self._events.put((hook, facts, size))

    def _take_room(self, size: int) -> bool:
        """Count what a plugin tells as queued; False where there is no room for it."""
        with self._lock:
            if self._events.qsize() >= MOST_TOLD or self._told + size > MOST_TOLD_BYTES:
                return False
            self._told += size
            return True

    def ask(self, hook: str, **facts: Any) -> list[Any]:
        """Call a hook at once, in this thread; returns what each observer returned."""
        answers: list[Any] = getattr(self._hooks, hook)(**facts) if hook in self._wanted else []
        return answers

    def close(self) -> None:
        """Let the observers catch up, and stop."""
        if self._wanted:
            self._events.put(None)
            self._thread.join(FLUSH_SECONDS)

    def _run(self) -> None:
        while (event := self._events.get()) is not None:
            hook, facts, size = event
            getattr(self._hooks, hook)(**facts)
            if size:
                with self._lock:
                    self._told -= size
        self._hooks.datahub_closing()
