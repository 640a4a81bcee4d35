"""Finds out what a request is about, and gives the application the same request after that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.types import Message, Receive, Scope

BODY_LIMIT: Final = 32 * 1024 * 1024
"""Bytes that are kept of a call's body while it is looked at; the API takes no more either."""

STORAGE_PATH: Final = "/storage/"
API_PATHS: Final[Mapping[str, str]] = {
    "/api/task/upload/init": "upload_init",
    "/api/task/upload/complete": "upload_complete",
    "/api/task/download/presign": "download_presign",
    "/api/task/update_status": "update_status",
    "/api/task/heartbeat": "heartbeat",
    "/api/task/result": "result",
    "/api/task/notify": "notify",
}


@dataclass(frozen=True, slots=True)
class Clues:
    """What a request says of what it is about; "" where it does not."""

    call: str
    method: str
    subtask: str = ""
    task: str = ""
    upload: str = ""
    name: str = ""
    key: str = ""
    part: int | None = None


def call_of(scope: Scope) -> str | None:
    """The call's name; None for what is neither Datahub's API nor storage."""
    if scope["type"] != "http":
        return None
    path: str = scope["path"]
    if path.startswith(STORAGE_PATH):
        method: str = scope["method"]
        return method.lower()
    return API_PATHS.get(path)


def storage_clues(call: str, scope: Scope) -> Clues:
    """Those of a request to storage: the key is what follows the bucket's name."""
    _bucket, _, key = scope["path"].removeprefix(STORAGE_PATH).partition("/")
    query = _query(scope)
    number = query.get("partNumber", "")
    part = int(number) if number.isascii() and number.isdigit() and len(number) < 6 else None  # noqa: PLR2004 - parts go to 10000
    return Clues(call, scope["method"], upload=query.get("uploadId", ""), key=key, part=part)


def api_clues(call: str, scope: Scope, body: bytes) -> Clues:
    """Those of a call to the API, right or not: the application says what is wrong with it."""
    given = _query(scope) if scope["method"] == "GET" else _object(body)
    return Clues(
        call,
        scope["method"],
        subtask=_text(given, "subtask_id"),
        task=_text(given, "task_id"),
        upload=_text(given, "upload_id"),
        name=_text(given, "file_name") or _text(given, "filename"),
    )


async def body_read(receive: Receive) -> tuple[bytes, Receive]:
    """A call's body, and a ``receive`` that gives it once more, with what comes after it."""
    messages: list[Message] = []
    size = 0
    while True:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if not message.get("more_body") or size > BODY_LIMIT:
            break
    body = b"".join(message.get("body", b"") for message in messages)
    messages.reverse()

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return body, again


def _query(scope: Scope) -> dict[str, str]:
    return dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return given if isinstance(given, dict) else {}


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    return value if isinstance(value, str) else ""
