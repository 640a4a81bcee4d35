"""Runs what waits in the backlog, so many subtasks side by side, until the service ends."""

from __future__ import annotations

import json
import logging
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping

from plugin_framework.engines.local import LocalEngine
from plugin_framework.errors import (
    ConfigurationError,
    DatahubError,
    RejectedError,
)
from plugin_framework.lifecycle.runner import Run
from plugin_framework.plugin.hookspecs import hookimpl
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.service.backlog import Backlog
from plugin_framework.service.turns import Entry

LONGEST_PAUSE = 60.0
"""Seconds between two tries to start a subtask."""

log: logging.Logger = logging.getLogger("datahub.service")


class Dispatcher:
    """Has a thread for each subtask that runs, ``slots`` of them at the most.

    ``on_over`` is told the final status of a subtask, and whether Datahub has acknowledged it.
    """

    def __init__(
        self,
        backlog: Backlog,
        engines: Mapping[str, LocalEngine],
        *,
        slots: int,
        on_over: Callable[[TaskStatus, bool], None],
    ) -> None:
        self._backlog = backlog
        self._engines = engines
        self._slots = threading.Semaphore(slots)
        self._on_over = on_over
        self._tries: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._running: dict[str, Run | None] = {}
        self._thread = threading.Thread(target=self._dispatch, daemon=True, name="dispatcher")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def runs(self, subtask_id: str) -> bool:
        """Whether a subtask is being run, so that its reports are its run's to send."""
        with self._changed:
            return subtask_id in self._running

    def shut_down(self, number: int) -> None:
        """Start no more, and do what ``ON_SHUTDOWN`` says with what runs; again, without grace."""
        self._backlog.drain()
        with self._changed:
            runs = [run for run in self._running.values() if run]
        for run in runs:
            run.shutdown(number)

    def wait(self, seconds: float) -> bool:
        """Wait until nothing runs; False if that took longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, seconds)

    def outlook(self) -> None:
        """There is no cluster."""

    def _dispatch(self) -> None:
        while True:
            self._slots.acquire()
            entry = self._backlog.take()
            if entry is None:
                return
            with self._changed:
                self._running[entry.subtask_id] = None
            name = f"run-{entry.subtask_id}"
            try:
                threading.Thread(target=self._run, args=(entry,), daemon=True, name=name).start()
            except RuntimeError as error:  # no more threads
                self._again(entry, error)
                self._gone(entry)

    def _run(self, entry: Entry) -> None:
        try:
            self._execute(entry)
        except RejectedError as error:
            self._refused(entry, error)
        except ConfigurationError as error:
            self._over(entry, failed="; ".join(error.problems))
        except (DatahubError, OSError) as error:
            self._again(entry, error)
        except Exception:
            log.exception("subtask %s: an internal error", entry.subtask_id)
            self._over(entry, failed="an internal error of the framework")
        finally:
            self._gone(entry)

    def _execute(self, entry: Entry) -> None:
        engine = self._engines[entry.plugin]
        found = engine.journal.queue.find(entry.subtask_id)
        if found is None:
            return
        run = engine.run(found.subtask_id, task_id=found.task_id, config=json.loads(found.config))
        with self._changed:
            self._running[entry.subtask_id] = run
        if not self._backlog.started(entry, run):
            return
        outcome = run.execute()
        if outcome.status.is_final:
            self._over(entry)
            if run.running:  # else it had ended before, and Datahub knows
                self._on_over(outcome.status, outcome.delivered)

    def _refused(self, entry: Entry, error: RejectedError) -> None:
        log.warning(
            "subtask %s: Datahub refused its start, and it is dropped: %s", entry.subtask_id, error
        )
        self._over(entry, refused=str(error))

    def _over(self, entry: Entry, *, failed: str | None = None, refused: str | None = None) -> None:
        self._tries.pop(entry.subtask_id, None)
        if failed is not None:
            log.error("subtask %s failed: %s", entry.subtask_id, failed)
        self._backlog.remove(entry, failed=failed, refused=refused)

    def _again(self, entry: Entry, error: Exception) -> None:
        self._tries[entry.subtask_id] += 1
        longest = min(2.0 ** self._tries[entry.subtask_id], LONGEST_PAUSE)
        pause = longest * random.uniform(0.5, 1)  # noqa: S311 - no secret
        if not self._backlog.draining:
            log.warning(
                "subtask %s is not started: %s; again in %.0f s", entry.subtask_id, error, pause
            )
        self._backlog.put_back(entry, pause)

    def _gone(self, entry: Entry) -> None:
        with self._changed:
            self._running.pop(entry.subtask_id, None)
            self._changed.notify_all()
        self._slots.release()


class Follower:
    """An extension that tells the backlog what was paused and resumed."""

    def __init__(self) -> None:
        self.backlog: Backlog | None = None

    @hookimpl
    def datahub_status_changed(self, subtask_id: str, new: TaskStatus) -> None:
        """See ``hookspecs.ObserverHooks``."""
        if self.backlog is not None and not new.is_final:
            self.backlog.follow(subtask_id, new)
