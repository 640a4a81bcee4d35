"""What this release sends and is sent, as JSON that later releases are held to.

``python -m tests.compatibility.wire`` writes it, once: what is recorded is never written again.
Key, secret and time are canned.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from plugin_framework.protocol.client import DatahubClient
from plugin_framework.protocol.credentials import Credentials
from plugin_framework.protocol.models import (
    CompletedPart,
    TaskStatus,
    UploadCompletion,
    UploadRequest,
)
from tests.scripted_server import Request, ScriptedServer, answer

RECORDED = Path(__file__).parent / "formats" / "outgoing.json"
KEY, SECRET, NOW = "plugin-key", "canned-secret-\u00fc", 1763382017
PROVEN = ("content-type", "d-api-key", "d-timestamp", "d-signature")
"""The headers that the protocol names."""
ID = "task_abc_001 \u00fc&=/?"
CHUNK = 5 * 1024 * 1024
RESULT = {"total_counts": 3, "nested": {"\u00fc": [1.5, None, True]}}

CALLS: Mapping[str, Callable[[DatahubClient], Any]] = {
    "update_status": lambda it: it.update_status(ID, TaskStatus.RUNNING),
    "heartbeat": lambda it: it.heartbeat(ID, 42),
    "result": lambda it: it.result(ID, RESULT),
    "notify": lambda it: it.notify(ID),
    "upload_init": lambda it: it.upload_init(
        UploadRequest(
            subtask_id=ID,
            file_name="\u00fc b.csv",
            file_size=2 * CHUNK + 1,
            chunk_size=CHUNK,
            file_md5="900150983cd24fb0d6963f7d28e17f72",
        )
    ),
    "upload_init of one part": lambda it: it.upload_init(
        UploadRequest(subtask_id=ID, file_name="a.csv", file_size=0)
    ),
    "upload_complete": lambda it: it.upload_complete(
        UploadCompletion(
            upload_id="u-1",
            subtask_id=ID,
            parts=(
                CompletedPart(index=1, etag='"9001"'),
                CompletedPart(index=2, etag='W/"\u00e4-2"'),
            ),
        )
    ),
    "download_presign": lambda it: it.download_presign(ID),
}
JOINED = "upload_init, joined"
"""The same call in Datahub's other spelling."""

_URLS = [f"http://127.0.0.1:9/bucket/key?partNumber={n}&Signature=canned" for n in (1, 2, 3)]
_PARTS = [{"index": index, "url": url} for index, url in enumerate(_URLS, 1)]
_ONE = {"upload_id": "u-1", "part_upload_urls": _PARTS[:1]}
_SEVERAL = {"upload_id": "u-1", "chunk_size": CHUNK, "part_upload_urls": _PARTS}
_BACKWARDS = {"upload_id": "u-1", "part_upload_urls": _PARTS[::-1]}
_STRINGS = {"upload_id": "u-1", "part_upload_urls": _URLS}
_INPUT = {"download_url": _URLS[0], "file_name": "\u00fc.csv"}
_UNNAMED = {"download_url": _URLS[0], "file_name": None}
_NAMELESS = {"download_url": _URLS[0]}


def _done(data: Any) -> dict[str, Any]:
    return {"code": 0, "msg": "success", "data": data}


DONE: list[dict[str, Any]] = [
    _done(None),
    {"code": 0, "msg": "success"},
    {"code": 0, "msg": None, "data": {}},
    {"code": 0},
    {},
]
ANSWERS: Mapping[str, list[dict[str, Any]]] = {
    "notify": [_done({"status": 2}), {"code": 0, "data": {"status": 2}}, {"status": 2}],
    "upload_init": [_done(_SEVERAL), {"code": 0, "data": _BACKWARDS}, _STRINGS],
    "upload_init of one part": [_done(_ONE), _ONE],
    "download_presign": [
        _done(_INPUT),
        {"code": 0, "data": {**_INPUT, "file_name": None}},
        _NAMELESS,
    ],
}
"""Of each call, the answer as the protocol has it, and then as older Datahubs give it."""


def answers_to(call: str) -> list[dict[str, Any]]:
    """All answers that count as the same success."""
    return ANSWERS.get(call.partition(",")[0], DONE)


def made(call: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Make a call, answered so: what went over the wire, and what the caller got."""
    credentials = Credentials(key=KEY, secret=SecretStr(SECRET))
    with ScriptedServer(answer(json.dumps(given).encode())) as server:
        with DatahubClient(
            server.url,
            credentials=credentials,
            clock=lambda: NOW,
            upload_fields="joined" if call == JOINED else "sample",
        ) as client:
            got = CALLS[call.partition(",")[0]](client)
        (request,) = server.requests
    return as_json(request), shown(got)


def as_json(request: Request) -> dict[str, Any]:
    """What of a request the protocol is about."""
    found = {name: request.header(name) for name in PROVEN}
    return {
        "method": request.method,
        "target": request.target,
        "headers": {name: value for name, value in found.items() if value is not None},
        "body": request.body.decode(),
    }


def shown(got: Any) -> Any:
    """What a caller got, secrets and all."""
    if isinstance(got, SecretStr):
        return got.get_secret_value()
    if isinstance(got, BaseModel):
        return {name: shown(getattr(got, name)) for name in type(got).model_fields}
    if is_dataclass(got) and not isinstance(got, type):
        return shown(asdict(got))
    return [shown(one) for one in got] if isinstance(got, tuple | list) else got


def recording() -> dict[str, Any]:
    """All calls, as they are made now."""
    found = {}
    for call in (*CALLS, JOINED):
        request, got = made(call, answers_to(call)[0])
        found[call] = {"request": request, "answers": answers_to(call), "got": got}
    return found


if __name__ == "__main__" and not RECORDED.exists():
    written = json.dumps(recording(), ensure_ascii=False, indent=2)
    RECORDED.write_text(written + "\n", encoding="utf-8")
