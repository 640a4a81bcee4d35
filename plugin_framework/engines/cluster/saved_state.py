"""What a subtask's attempts save for each other, and how it fits what is on this machine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plugin_framework.engines.cluster.records import Kept, Lease
from plugin_framework.engines.cluster.store import LeaseStore
from plugin_framework.engines.cluster.writes import Writes
from plugin_framework.errors import JournalError
from plugin_framework.lifecycle.folders import make_same_work_dir

log: logging.Logger = logging.getLogger("datahub.runner")


class SavedState:
    """The author's state, with what must not be taken apart from it. Safe for several threads.

    With it travel the progress that was reported, which must not fall, and the id of the work
    directory that it was saved beside: another is of an earlier attempt, and not used. It is what
    an attempt has in place of ``folders.make_work_dir`` and ``progress.HighestPercent``.
    """

    def __init__(self, store: LeaseStore, lease: Lease, writes: Writes, kept: Kept) -> None:
        self._store = store
        self._lease = lease
        self._writes = writes
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        self._state: Mapping[str, Any] = kept.state.get("state", {})
        self._percent: int = kept.state.get("percent", 0)
        self._beside: str | None = kept.state.get("work_dir")
        self._work_dir: str | None = None

    @property
    def state(self) -> dict[str, Any]:
        """The author's alone."""
        return dict(self._state)

    def save(self, state: Mapping[str, Any]) -> None:
        """Save another one.

        Raises:
            JournalError: the lease is lost, or the store is away for too long.
        """
        with self._lock:
            self._state, self._beside = dict(state), self._work_dir
        self._writes.patiently(self._save)

    def make_work_dir(self, state_dir: Path, place: str) -> bool:
        """Make the work directory; whether it is new, so that it has no file of attempts before.

        Raises:
            JournalError: the state folder cannot be written.
        """
        self._work_dir, is_new = make_same_work_dir(
            state_dir, self._lease.subtask_id, self._beside, place=place
        )
        return is_new

    def raise_to(self, percent: int) -> int:
        """See ``progress.Highest``: whichever machine reported it.

        What the store does not take is not reported, for another machine would begin below it.
        """
        if percent > self._percent:
            try:
                self._writes.once(lambda: self._save(percent))
            except JournalError as error:  # not worth a heartbeat
                log.debug("the progress of subtask %s: %s", self._lease.subtask_id, error)
        return self._percent

    def forget(self) -> None:
        """See ``progress.Highest``; the store forgets it by itself."""

    def _save(self, percent: int = 0) -> None:
        with self._saving:  # so that nothing older is written over it
            highest = max(self._percent, percent)
            with self._lock:
                kept = {"state": self._state, "percent": highest, "work_dir": self._beside}
            self._store.save_state(self._lease, kept)
            self._percent = highest
