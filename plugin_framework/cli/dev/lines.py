"""The service's log lines: shown with our own, and kept with the tasks they are about."""

from __future__ import annotations

import json
import logging
import queue
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any, Self

from plugin_framework.cli.timeline import plain
from plugin_framework.emulator.logs import LogLine
from plugin_framework.emulator.rules import Refused
from plugin_framework.emulator.store import Store

MOST_WAITING = 10_000
"""Lines; beyond, they are shown and not kept, for the service must not wait for them."""

MOST_AT_ONCE = 1000
"""Lines kept in one transaction."""

log: logging.Logger = logging.getLogger("datahub.dev")

_FRAMEWORK_FIELDS = frozenset({"time", "level", "logger", "message", "subtask_id", "traceback"})


def record_of(line: str) -> logging.LogRecord:
    """What the service logged, or printed before it could."""
    said = _object(line)
    level = logging.getLevelNamesMapping().get(str(said.get("level")).upper(), logging.INFO)
    fields: dict[str, Any] = {
        "name": str(said.get("logger", "datahub.output")),
        "levelno": level,
        "levelname": logging.getLevelName(level),
        "msg": str(said["message"]),
        "subtask_id": said.get("subtask_id"),
        "exc_text": said.get("traceback"),
        "facts": {name: said[name] for name in said.keys() - _FRAMEWORK_FIELDS},
    }
    with suppress(KeyError, TypeError, ValueError):
        fields["created"] = datetime.fromisoformat(said["time"]).timestamp()
    return logging.makeLogRecord(fields)


def _object(line: str) -> dict[str, Any]:
    text = line.rstrip()
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    return said if isinstance(said, dict) and "message" in said else {"message": text}


def address_of(record: logging.LogRecord) -> str | None:
    """Where the service takes calls from now on, if the line says so."""
    serving, _, address = record.getMessage().rpartition(" on http://")
    says = record.name == "datahub.service" and serving.startswith("serving ")
    return f"http://{address}" if says else None


class Prefixed(logging.Filter):
    """Says of each line on a terminal whose it is; after Redact. Lines stay lines and text."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place; logging's contract."""
        text = "\n".join(map(plain, str(record.msg).splitlines()))
        record.msg = f"{plain(_speaker(record)):<8} | {text}"
        return True


def _speaker(record: logging.LogRecord) -> str:
    if record.name == "datahub.dev":
        return "dev"
    if record.name.startswith("datahub.plugin."):
        name = record.name.removeprefix("datahub.plugin.")
        return getattr(record, "subtask_id", None) or name
    return "service"


class Keeper:
    """Keeps lines with their tasks, from a thread, as long as the ``with`` block lasts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: queue.Queue[tuple[str, LogLine] | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._keep, daemon=True, name="keeper")

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Keep what is left."""
        self._waiting.put(None)
        self._thread.join()

    def take(self, record: logging.LogRecord) -> None:
        """Have a line kept, if it is about a subtask."""
        subtask_id = getattr(record, "subtask_id", None)
        if subtask_id is None or self._waiting.full():
            return
        text = "\n".join(filter(None, (str(record.msg), record.exc_text)))
        line = LogLine(record.created, record.levelname, _storable(record.name), _storable(text))
        self._waiting.put((_storable(str(subtask_id)), line))

    def _keep(self) -> None:
        while (first := self._waiting.get()) is not None:
            lines = defaultdict(list, {first[0]: [first[1]]})
            for subtask_id, line in self._at_hand():
                lines[subtask_id].append(line)
            for subtask_id, some in lines.items():
                try:
                    self._add(subtask_id, some)
                except Refused:
                    continue  # of a subtask that another Datahub made
                except sqlite3.Error as error:
                    log.error("lines of subtask %s are not kept: %s", subtask_id, error)  # noqa: TRY400 - one line

    def _at_hand(self) -> Iterator[tuple[str, LogLine]]:
        for _ in range(MOST_AT_ONCE):
            try:
                found = self._waiting.get_nowait()
            except queue.Empty:
                return
            if found is None:
                self._waiting.put(None)
                return
            yield found

    def _add(self, subtask_id: str, lines: list[LogLine]) -> None:
        self._store.add_logs(subtask_id, lines)
        for line in lines:
            if reason := _reason(subtask_id, line):
                self._store.set_reason(subtask_id, reason)


def _storable(text: str) -> str:
    """The text as it is shown: half a surrogate pair, as of a file's name, is in no database."""
    return text.encode(errors="backslashreplace").decode()


def _reason(subtask_id: str, line: LogLine) -> str | None:
    """Why the subtask failed, if the line says so; the protocol has no place for it."""
    said, begin = line.message, f"subtask {subtask_id} failed: "
    ours = not line.logger.startswith("datahub.plugin.")
    return said.removeprefix(begin) if ours and said.startswith(begin) else None
