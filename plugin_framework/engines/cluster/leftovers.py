"""Removes what attempts have left on a machine whose subtasks have come to their end elsewhere."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from pathlib import Path

from plugin_framework.engines.cluster.store import LeaseStore
from plugin_framework.errors import DatahubError, TaskLockedError
from plugin_framework.lifecycle.folders import forget_subtask, marks, subtask_lock

LOOK_SECONDS = 3600.0
"""Between two looks for what is left."""

CLOSE_SECONDS = 5.0
"""What the removal of one folder may take at the end."""

log: logging.Logger = logging.getLogger("datahub.node")


class Leftovers:
    """Has a thread remove them: at once, and then each hour, until it is closed."""

    def __init__(self, state_dir: Path, store: LeaseStore) -> None:
        self._state_dir = state_dir
        self._store = store
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep_removing, daemon=True, name="leftovers")
        self._thread.start()

    def close(self) -> None:
        """Look for no more."""
        self._closed.set()
        self._thread.join(CLOSE_SECONDS)

    def _keep_removing(self) -> None:
        while not self._closed.is_set():
            try:
                removed = remove_leftovers(self._state_dir, self._store, self._closed)
            except (DatahubError, OSError) as error:
                log.warning("files of subtasks that are over are looked for later: %s", error)
            except Exception:
                log.exception("files of subtasks that are over could not be removed")
            else:
                if removed:
                    log.info("removed the files of attempts that are over elsewhere: %d", removed)
            self._closed.wait(LOOK_SECONDS)


def remove_leftovers(state_dir: Path, store: LeaseStore, closed: threading.Event) -> int:
    """Remove the files of attempts whose subtask has ended, or is unknown; returns how many.

    What runs is left alone, and so is what may go on here.

    Raises:
        StoreUnreachableError: the others are not removed.
        JournalError: the state folder cannot be used.
    """
    removed = 0
    for mark in marks(state_dir):
        if closed.is_set():
            break
        if not _is_over(store, mark.subtask_id):
            continue
        with suppress(TaskLockedError), subtask_lock(state_dir, mark.place, to_run=False):
            if _is_over(store, mark.subtask_id):  # still: now nobody can begin it here
                forget_subtask(state_dir, mark.place)
                removed += 1
    return removed


def _is_over(store: LeaseStore, subtask_id: str) -> bool:
    return store.ending(subtask_id) is not None or store.look(subtask_id) is None
