"""What Datahub asks of a service, and what this release answers, as JSON for later ones.

``python -m tests.compatibility.incoming`` writes it, once, as ``tests.compatibility.wire`` does.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.service.calling import Caller, ServiceProcess
from tests.service.hub import Hub

RECORDED = Path(__file__).parent / "formats" / "incoming.json"
PLUGIN = "Anything"
SECRET, NOW = "canned-secret-\u00fc", 1763382017

CREATE, MANAGE = "/api/plugin/create_task", "/api/plugin/manage_task"
WHOLE = {
    "subtask_id": "task_abc_001",
    "task_id": "task_abc",
    "config": {"\u00fc": [1.5, None]},
    "input_files": ["https://example.com/in.csv"],
    "plugin": "Anything",
}
CALLS: Mapping[str, tuple[str, str, str]] = {
    "POST create_task": (
        CREATE,
        "",
        json.dumps(WHOLE, ensure_ascii=False),
    ),
    "POST create_task, least": (CREATE, "", '{"subtask_id": "task_abc_002"}'),
    "POST create_task, wrong": (CREATE, "", '{"config": {}}'),
    "POST manage_task, unknown": (MANAGE, "", '{"subtask_id":"unknown","status":2}'),
    "POST manage_task, wrong": (MANAGE, "", '{"subtask_id":"unknown","status":3}'),
    "POST payment": (
        "/api/plugin/payment",
        "",
        '{"subtask_id":"task_abc_001","tx_hash":"0xabc"}',
    ),
    "GET health": ("/api/plugin/health", "timestamp=1763382017", ""),
}
"""Path, query and body."""


def request_of(call: str) -> dict[str, str]:
    """The call, without its signature."""
    path, query, body = CALLS[call]
    return {"method": call.split(maxsplit=1)[0], "path": path, "query": query, "body": body}


def signature_of(request: Mapping[str, str]) -> str:
    """What a Datahub with the canned secret signs it with at the canned time; section 2.1."""
    query = dict(pair.split("=") for pair in request["query"].split("&") if pair)
    given = json.dumps(query, sort_keys=True, separators=(",", ":")) if query else ""
    message = f"{given}{request['body']}{NOW}".encode()
    return hmac.new(SECRET.encode(), message, hashlib.sha256).hexdigest()


def answered(caller: Caller, request: Mapping[str, str]) -> dict[str, Any]:
    """Have a service answer, signed with the caller's secret and now.

    Its uptime is canned; what it says to people of a refusal is no promise, and left out.
    """
    query = dict(pair.split("=") for pair in request["query"].split("&") if pair)
    body = request["body"].encode()
    headers = {"Content-Type": "application/json"} if body else {}
    target = request["path"] + (f"?{request['query']}" if query else "")
    signed = headers | caller.headers(query, body)
    got = caller.send(request["method"], target, body, signed)
    said = re.sub(r'"uptime": \d+', '"uptime": 7', got.raw.decode())
    said = re.sub(r'"(msg|message)": "(?!success")[^"]*"', r'"\1": "..."', said)
    return {"status": got.status, "type": got.headers["content-type"], "body": said}


def recording() -> dict[str, Any]:
    """All calls, as they are answered now."""
    with (
        tempfile.TemporaryDirectory() as state,
        Hub() as hub,
        ServiceProcess(Path(state), hub.url, PLUGIN) as service,
    ):
        return {
            call: {
                "request": request_of(call),
                "signature": signature_of(request_of(call)),
                "answer": answered(service.call, request_of(call)),
            }
            for call in CALLS
        }


if __name__ == "__main__" and not RECORDED.exists():
    written = json.dumps(recording(), ensure_ascii=False, indent=2)
    RECORDED.write_text(written + "\n", encoding="utf-8")
