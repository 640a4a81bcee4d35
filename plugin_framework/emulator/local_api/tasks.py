"""Tasks, as the page lists, shows and steers them."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final
from urllib.parse import unquote

from pydantic import Field, RootModel, StringConstraints
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from plugin_framework.emulator.local_api.answers import (
    NOT_FOUND,
    Body,
    Problem,
    get,
    number,
    post,
    read_body,
)
from plugin_framework.emulator.local_api.shapes import (
    brief,
    counts_json,
    event_json,
    line_json,
    whole,
)
from plugin_framework.emulator.logs import LogLine
from plugin_framework.emulator.platform import Platform
from plugin_framework.emulator.rules import Refused
from plugin_framework.emulator.store import Store
from plugin_framework.emulator.subtasks import Subtask
from plugin_framework.protocol.models import TaskStatus

ID_LIMIT: Final = 200
PAGE: Final = 50
LONGEST_PAGE: Final = 1000
MOST_LINES: Final = 1000
"""Log lines that are taken, and events or lines that are answered, at a time."""

LATEST: Final = 4_102_444_800
"""The year 2100: times behind it are no Unix seconds."""

REQUESTS: Final = {
    "pause": TaskStatus.PAUSED,
    "resume": TaskStatus.RUNNING,
    "cancel": TaskStatus.CANCELLED,
}

Identifier = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=ID_LIMIT, pattern=r"^[^/\\\x00-\x1f\x7f]+$", strict=True
    ),
]


class NewTask(Body):
    """Body of ``POST /local/tasks``. Without a ``subtask_id`` one is made up."""

    plugin: str
    config: dict[str, Any] = Field(default_factory=dict)
    input: str | None = None
    subtask_id: Identifier | None = None
    task_id: Identifier | None = None


class NewLine(Body):
    """A line of a log; ``at`` is in Unix seconds."""

    at: Annotated[float, Field(ge=0, le=LATEST, allow_inf_nan=False)]
    level: Annotated[str, StringConstraints(max_length=32)]
    logger: Annotated[str, StringConstraints(max_length=256)]
    message: str


class NewLines(RootModel[Annotated[list[NewLine], Field(max_length=MOST_LINES)]]):
    """Body of ``POST /local/tasks/ID/logs``."""


class Tasks:
    """The routes below ``/local/tasks``."""

    def __init__(self, store: Store, platform: Platform) -> None:
        self._store = store
        self._platform = platform

    def routes(self) -> list[BaseRoute]:
        """What to serve."""
        one = "/local/tasks/{id}"
        return [
            get("/local/tasks", self._list),
            post("/local/tasks", self._create, status=201),
            get(f"{one}/events", self._events),
            get(f"{one}/logs", self._logs),
            post(f"{one}/logs", self._add_logs),
            get(f"{one}/result", self._result),
            *(post(f"{one}/{word}", self._asker(status)) for word, status in REQUESTS.items()),
            get(one, self._one),
        ]

    def _list(self, request: Request) -> dict[str, Any]:
        query = request.query_params
        revision = self._store.revision
        page = self._store.page_of_subtasks(
            status=_status(query["status"]) if query.get("status") else None,
            before=number(request, "before", 0) or None,
            limit=max(1, number(request, "limit", PAGE, most=LONGEST_PAGE)),
            search=query.get("search", ""),
        )
        now = time.time()
        return {
            "tasks": [brief(subtask, now) for subtask in page.subtasks],
            "total": page.total,
            "counts": counts_json(self._store.counts()),
            "next": page.next,
            "revision": revision,
        }

    def _create(self, _request: Request, body: bytes) -> dict[str, Any]:
        given = read_body(NewTask, body)
        subtask = self._platform.create_task(
            given.plugin,
            given.config,
            input=None if given.input is None else self._input(given.input),
            subtask_id=given.subtask_id,
            task_id=given.task_id,
        )
        return whole(subtask, time.time())

    def _input(self, key: str) -> str:
        try:
            return self._store.inputs.find(key).key
        except Refused as refused:
            raise Problem(refused.message, NOT_FOUND) from None

    def _one(self, request: Request) -> dict[str, Any]:
        return whole(subtask_of(self._store, request), time.time())

    def _events(self, request: Request) -> list[dict[str, Any]]:
        subtask_id = subtask_of(self._store, request).subtask_id
        after, limit = number(request, "after", 0), number(request, "limit", MOST_LINES)
        return [event_json(event) for event in self._store.events(subtask_id, after, limit)]

    def _logs(self, request: Request) -> list[dict[str, Any]]:
        subtask_id = subtask_of(self._store, request).subtask_id
        after, limit = number(request, "after", 0), number(request, "limit", MOST_LINES)
        return [line_json(line) for line in self._store.logs(subtask_id, after, limit)]

    def _add_logs(self, request: Request, body: bytes) -> dict[str, int]:
        lines = [
            LogLine(line.at, line.level, line.logger, line.message)
            for line in read_body(NewLines, body).root
        ]
        self._store.add_logs(subtask_of(self._store, request).subtask_id, lines)
        return {"taken": len(lines)}

    def _result(self, request: Request) -> dict[str, Any] | Response:
        result = subtask_of(self._store, request).result
        if result is None:
            raise Problem("there is no result", NOT_FOUND)
        return result

    def _asker(self, status: TaskStatus) -> Any:
        def ask(request: Request, _body: bytes) -> dict[str, Any]:
            subtask_id = subtask_of(self._store, request).subtask_id
            return whole(self._platform.manage(subtask_id, status), time.time())

        return ask


def subtask_of(store: Store, request: Request) -> Subtask:
    """The subtask that the path names.

    Raises:
        Problem: there is none.
    """
    try:
        return store.subtask(unquote(request.path_params["id"]))
    except Refused:
        raise Problem("there is no such task", NOT_FOUND) from None


def _status(text: str) -> TaskStatus:
    if text not in {str(int(status)) for status in TaskStatus}:
        raise Problem("status: expected a number from 0 to 5")
    return TaskStatus(int(text))
