"""Tells extensions what happens, on a thread that delays nothing."""

from __future__ import annotations

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
"""Events that may be queued before what a plugin's process tells is left out."""


class Observers:
    """The extensions that observe, called in order, one event after the other."""

    def __init__(self, extensions: Mapping[str, object]) -> None:
        self._hooks = observer_manager(extensions).hook
        self._wanted = {
            name for name in OBSERVER_HOOKS if getattr(self._hooks, name).get_hookimpls()
        }
        self._events: queue.SimpleQueue[tuple[str, dict[str, Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True, name="observers")
        if self._wanted:
            self._thread.start()

    def tell(self, hook: str, **facts: Any) -> None:
        """Queue an event, if anyone wants it."""
        if hook in self._wanted and (hook != TOLD or self._events.qsize() < MOST_TOLD):
            self._events.put((hook, facts))

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
            hook, facts = event
            getattr(self._hooks, hook)(**facts)
        self._hooks.datahub_closing()
