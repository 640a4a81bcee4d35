"""Validates configs where the plugin is, before a subtask is accepted."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from plugin_framework.engines.local import LocalEngine

MOST_REMEMBERED = 10_000
"""Configs that are known to be valid."""

CHECKS_AT_ONCE = 4
"""So that one whose validation hangs does not hold up the others."""


class Checks:
    """The configs of one plugin. Used from one event loop.

    What was valid is not asked about again: a run checks its config once more when it starts.
    """

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine
        self._asking = ThreadPoolExecutor(CHECKS_AT_ONCE, thread_name_prefix="check")
        self._valid: OrderedDict[bytes, None] = OrderedDict()

    async def check(self, config: Mapping[str, Any], text: str) -> None:
        """Validate a config; ``text`` is its JSON, with sorted keys.

        Raises:
            PluginLoadError, PluginCrashedError: the plugin cannot be asked.
            InvalidConfigError: with one line for each field that is wrong.
        """
        digest = hashlib.sha256(text.encode()).digest()
        if digest in self._valid:
            self._valid.move_to_end(digest)
            return
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._asking, self._engine.check, config)
        self._valid[digest] = None
        if len(self._valid) > MOST_REMEMBERED:
            self._valid.popitem(last=False)

    def close(self) -> None:
        """Answer no more."""
        self._asking.shutdown(wait=False, cancel_futures=True)
