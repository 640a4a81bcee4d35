"""Delivers what runs have left in the journal, beside the runs, as long as the service lives."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable

from plugin_framework.engines.delivery import deliver_kept
from plugin_framework.errors import DatahubError
from plugin_framework.journal.journal import Journal
from plugin_framework.settings import Settings

SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between two tries."""

PATIENCE = 30.0
"""Seconds that one try may take."""

log: logging.Logger = logging.getLogger("datahub.delivery")


class Redelivery:
    """One thread; ``is_running`` says that a subtask's reports are its run's to send."""

    def __init__(
        self, settings: Settings, journal: Journal, *, is_running: Callable[[str], bool]
    ) -> None:
        self._settings = settings.model_copy(
            update={"startup_deadline": 0.0, "delivery_deadline": PATIENCE}
        )
        self._journal = journal
        self._is_running = is_running
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._pause = SHORTEST_PAUSE
        self._thread = threading.Thread(target=self._serve, daemon=True, name="redelivery")

    def start(self) -> None:
        """Begin, with what earlier runs left."""
        self._wake.set()
        self._thread.start()

    def kick(self) -> None:
        """Something was left."""
        self._wake.set()

    def close(self, seconds: float) -> None:
        """Stop; what is being sent has so many seconds."""
        self._closed.set()
        self._wake.set()
        self._thread.join(seconds)

    def _serve(self) -> None:
        left = True
        while True:
            # What is left is tried again by itself; else somebody says when.
            self._wake.wait(self._pause * random.uniform(0.5, 1) if left else None)  # noqa: S311 - no secret
            self._wake.clear()
            if self._closed.is_set():
                return
            try:
                left = self._deliver()
            except Exception as error:
                if self._closed.is_set():  # the journal may be closed by now
                    return
                if not isinstance(error, DatahubError):
                    log.exception("what was kept is not delivered")
                log.warning("what was kept of other subtasks: %s", error)
                left = True
            self._pause = min(self._pause * 2, LONGEST_PAUSE) if left else SHORTEST_PAUSE

    def _deliver(self) -> bool:
        """Deliver what there is; whether something is left."""
        found = map(self._journal.records.find, self._mine())
        kept = [record for record in found if record]
        for record, delivery in deliver_kept(self._settings, self._journal, kept):
            outcome = "delivered" if delivery.done else delivery.error
            log.info("what was kept of subtask %s: %s", record.subtask_id, outcome)
            if self._closed.is_set():
                break
        return bool(self._mine())

    def _mine(self) -> list[str]:
        return [one for one in self._journal.queue.undelivered() if not self._is_running(one)]
